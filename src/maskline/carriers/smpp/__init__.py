"""SMPP 3.4: maskline as an ESME of any operator's SMSC."""
