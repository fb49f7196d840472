//! One spelling for regexes that match alike.

/// Spellings of one thing, and the spelling that [`super::known`] uses.
const SPELLINGS: [(&str, &str); 10] = [
    ("\r", r"\r"),
    ("\n", r"\n"),
    ("\t", r"\t"),
    // English contractions in any case.
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS),
    ("'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS),
    ("'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])", CONTRACTIONS),
    // Not giving back makes no difference where what follows cannot match what was taken, as in all known regexes.
    ("?+", "?"),
    ("++", "+"),
    (r"\p{N}{1}|", r"\p{N}|"),
    // A set within a set.
    (r"[^(\s|.,!?…。，、।۔،)]", r"[^(\s|[.,!?…。，、।۔،])]"),
];
const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

/// The canonical spelling of `regex`.
pub(super) fn canonical(regex: &str) -> String {
    SPELLINGS.iter().fold(regex.to_owned(), |regex, (spelling, ours)| regex.replace(spelling, ours))
}
