//! Patterns over names.

use wildmatch::WildMatch;

/// Whether `pattern` matches all of `text`: `*` stands for any run of characters, `?` for one.
pub fn matches(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in
            [("*", ""), ("linux-6.*", "linux-6.12"), ("*.1", "linux-6.1.1"), ("a?c", "abc"), ("a**b", "ab")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("linux-6.?", "linux-6.12"), ("a?", "a"), ("a*b", "abc"), ("A", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
