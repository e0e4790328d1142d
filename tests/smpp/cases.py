"""Texts that go through every foreign SMSC and gateway."""

ENCODINGS = [
    (0, "Hello, are you there? 10 € [no] {yes} ~^|\\"),
    (0, "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¡ÄÖÑÜ§¿äöñüà"),
    (8, "Ça va? Привет, 中文 🙂"),
]
"""Each with its data_coding."""

LATIN_1 = "Ça coûte déjà ½ £, où ça?"
"""What GSM 03.38 has not, and Latin-1 has."""

LONG = ["The quick brown fox [€] jumps. " * 15, "Быстрая лиса 🙂 " * 20]
