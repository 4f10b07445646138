"""Names and links that may be in a release: a build takes them, and a host lays them as they are."""

# What shows nothing, is new, or differs in its case alone is a name all the same; hosts keep each apart.
FIT_NAMES = (
    "9.41\u202fAM.png", "a\u00a0b", "\U0001f469\u200d\U0001f4bb.svg", "zero\u200cwidth", "soft\u00adhyphen",
    "\ufeffbom", "\u05d0\u200f.txt", "\U0001fadf", "e\u0301", "\u00e9", "README", "readme", "two  spaces ", "\u3000",
    "back\\slash",
)  # fmt: skip
FIT_LINKS = {"self": ".", "chain": "hop", "hop": "README", "gone": "none/at all", "wide\u202f": "9.41\u202fAM.png"}
