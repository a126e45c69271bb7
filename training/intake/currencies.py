"""Currencies as amounts name them: codes of ISO 4217 and signs."""

_CODES = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
    CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP
    LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XCD XDR XOF XPF YER
    ZAR ZMW ZWL
"""
CODES = frozenset(_CODES.split())
# What people write instead of a code; "" if it stands for several currencies.
SIGNS = {
    "$": "USD",
    "us$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₺": "TRY",
    "₪": "ILS",
    "₫": "VND",
    "₴": "UAH",
    "₦": "NGN",
    "฿": "THB",
    "₱": "PHP",
    "₡": "CRC",
    "₲": "PYG",
    "₵": "GHS",
    "₸": "KZT",
    "₾": "GEL",
    "r$": "BRL",
    "a$": "AUD",
    "c$": "CAD",
    "hk$": "HKD",
    "nt$": "TWD",
    "nz$": "NZD",
    "s$": "SGD",
    "mx$": "MXN",
    "ft": "HUF",
    "kč": "CZK",
    "zł": "PLN",
    "lei": "RON",
    "лв": "BGN",
    "руб": "RUB",  # noqa: RUF001 - Cyrillic is meant
    "fr": "CHF",
    "sfr": "CHF",
    "tl": "TRY",
    "rm": "MYR",
    "euro": "EUR",
    "euros": "EUR",
    "kr": "",
    "rs": "",
    "dollars": "",
}


def currency_of(mark: str) -> str:
    """The code of a currency by its code or sign, "" if the sign is unknown or stands for several currencies."""
    plain = mark.strip().rstrip(".").casefold()
    return plain.upper() if plain.upper() in CODES else SIGNS.get(plain, "")
