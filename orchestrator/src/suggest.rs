//! Suggestions for words that are not known.

/// The known word that `found` may be a slip for: good enough for a question.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    most_like(found, known, 0.6)
}

/// The known word that `found` is in all likelihood a slip for: good enough to refuse it.
pub fn likely_slip<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    most_like(found, known, 0.8)
}

/// The known word that is one letter away from `found`.
pub fn one_letter_off<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().find(|word| strsim::damerau_levenshtein(found, word) == 1)
}

/// Asks whether `word` was meant.
pub fn question(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// Asks whether `found` was meant to be one of `known`, if one of them is near.
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(found, known).map(question)
}

/// Asks whether `found` was meant to be one of `known`, or lists them behind `what`; none where
/// there are none.
pub fn did_you_mean_or<'a>(found: &str, known: impl IntoIterator<Item = &'a str>, what: &str) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let list = || (!known.is_empty()).then(|| format!("{what}: {}", known.join(", ")));
    did_you_mean(found, known.iter().copied()).or_else(list)
}

fn most_like<'a>(found: &str, known: impl IntoIterator<Item = &'a str>, least: f64) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::normalized_damerau_levenshtein(found, word), word))
        .filter(|(likeness, _)| *likeness >= least)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["lz4", "lzo-rle", "zstd"];
        assert_eq!(did_you_mean("lzo-lre", known).as_deref(), Some("did you mean `lzo-rle`?"));
        assert_eq!(did_you_mean("gzip", known), None);
        assert_eq!(did_you_mean_or("gzip", known, "known").as_deref(), Some("known: lz4, lzo-rle, zstd"));
        assert_eq!(did_you_mean_or("gzip", [], "known"), None);
        assert_eq!((one_letter_off("zsdt", known), one_letter_off("zzsdt", known)), (Some("zstd"), None));
    }
}
