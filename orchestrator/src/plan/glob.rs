//! Patterns over names.

/// Whether `pattern` matches all of `text`: `*` stands for any run of characters, `?` for one.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` must take one more character.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t + 1));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, next)) = retry else { return false };
                retry = Some((star, next + 1));
                p = star + 1;
                t = next;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
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
