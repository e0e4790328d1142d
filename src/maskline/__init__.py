"""maskline: a self-hosted server for masked conversations, wire-compatible with Twilio Proxy.

Importing the package does nothing; `maskline.cli` is the way in, `maskline.runtime` puts the parts together.
"""

__version__ = "0.1.0.dev0"
