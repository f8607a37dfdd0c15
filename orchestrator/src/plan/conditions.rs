//! What kernels are chosen by: bounds on their version (`when: ">=6.1,<6.13"`), and patterns over
//! names.

use std::cmp::Ordering;
use std::fmt;

use wildmatch::WildMatch;

/// The numbers of a version that are known, from the left: `6.1` may stand for any 6.1.y.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u32>);

impl Version {
    /// Reads the numbers at the start of `text`: `6.1.192-2` is 6.1.192, `7.3~rc1` is 7.3. None if
    /// there are none.
    pub fn leading(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let numbers: Vec<u32> = text[..end].split('.').map_while(|number| number.parse().ok()).collect();
        (!numbers.is_empty()).then_some(Self(numbers))
    }

    /// Reads `6.1` or `6.1.80`; none for anything else.
    pub fn exact(text: &str) -> Option<Self> {
        let legal = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = text.split('.').map(|number| if legal(number) { number.parse().ok() } else { None });
        let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
        (numbers.len() <= 4).then_some(Self(numbers))
    }

    /// Whether `self` begins with all the numbers of `other`.
    pub fn begins_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Compares as many numbers as `bound` has; none if too few are known.
    fn against(&self, bound: &Self) -> Option<Ordering> {
        for (index, wanted) in bound.0.iter().enumerate() {
            match self.0.get(index)?.cmp(wanted) {
                Ordering::Equal => {}
                other => return Some(other),
            }
        }
        Some(Ordering::Equal)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if index == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    Not,
    AtLeast,
    More,
}

/// Longest first: `<=` begins with `<`.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("!=", Relation::Not),
    ("<", Relation::Less),
    (">", Relation::More),
    ("=", Relation::Equal),
];

/// Bounds that a version must all meet.
///
/// A bound is compared in the numbers it has: `=6.1` and `<=6.1` take every 6.1.y, `>6.1` begins
/// with 6.2, `<6.1` ends before 6.1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Vec<(Relation, Version)>);

impl Condition {
    /// Reads bounds with commas between them; a version alone means `=`.
    ///
    /// # Errors
    ///
    /// The part that is not a bound.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bounds = text.split(',').map(|bound| {
            let bound = bound.trim();
            let (relation, version) = RELATIONS
                .iter()
                .find_map(|(sign, relation)| Some((*relation, bound.strip_prefix(sign)?)))
                .unwrap_or((Relation::Equal, bound));
            Version::exact(version.trim()).map(|version| (relation, version)).ok_or_else(|| bound.to_owned())
        });
        bounds.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `version` meets every bound; none if too little of it is known.
    pub fn holds(&self, version: &Version) -> Option<bool> {
        let kept = |(relation, bound): &(Relation, Version)| {
            let order = version.against(bound)?;
            Some(match relation {
                Relation::Less => order.is_lt(),
                Relation::AtMost => order.is_le(),
                Relation::Equal => order.is_eq(),
                Relation::Not => order.is_ne(),
                Relation::AtLeast => order.is_ge(),
                Relation::More => order.is_gt(),
            })
        };
        let answers: Vec<Option<bool>> = self.0.iter().map(kept).collect();
        // One broken bound is enough.
        if answers.contains(&Some(false)) {
            Some(false)
        } else {
            answers.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (relation, version)) in self.0.iter().enumerate() {
            let sign = RELATIONS.iter().find(|(_, known)| known == relation).map_or("", |(sign, _)| sign);
            write!(f, "{}{sign}{version}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Whether `pattern` matches all of `text`: `*` stands for any run of characters, `?` for one.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(condition: &str, version: &str) -> Option<bool> {
        let version = Version::leading(version).expect("a version");
        Condition::parse(condition).expect("a condition").holds(&version)
    }

    #[test]
    fn bounds_are_compared_in_their_own_numbers() {
        for (condition, version, answer) in [
            (">=6.1,<6.13", "6.1", Some(true)),
            (">=6.1,<6.13", "6.12.117-1~deb12u1", Some(true)),
            (">=6.1,<6.13", "6.13.1", Some(false)),
            (">=6.1,<6.13", "5.10", Some(false)),
            ("6.1", "6.1.192", Some(true)),
            ("6.1", "6.10", Some(false)),
            (">6.1", "6.1.192", Some(false)),
            (">6.1", "6.2", Some(true)),
            ("<=6.1", "6.1.192", Some(true)),
            ("!=6.1", "6.1.192", Some(false)),
            ("<7", "6.12", Some(true)),
            (" >= 7 , != 7.1 ", "7.3~rc1", Some(true)),
        ] {
            assert_eq!(holds(condition, version), answer, "{condition} {version}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(holds(">=6.1.80", "6.1"), None);
        assert_eq!(holds(">=6.1.80", "6.2"), Some(true));
        assert_eq!(holds(">=6.1.80,<6", "6.1"), Some(false), "one broken bound is enough");
        assert_eq!(holds(">=6.1.80,<7", "6.1"), None);
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for wrong in ["", ">=", "6.1,", "=>6.1", "6.x", "v6.1", "6..1", "6.1 7.1", "~6.1", "6.1-rc1", "1.2.3.4.5"] {
            assert!(Condition::parse(wrong).is_err(), "{wrong}");
        }
    }

    fn numbers() -> impl Strategy<Value = Vec<u32>> {
        proptest::collection::vec(0..20u32, 1..4)
    }

    fn relation() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(RELATIONS.map(|(sign, _)| sign).to_vec())
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bounds in proptest::collection::vec((relation(), numbers()), 1..4)) {
            let text: Vec<String> = bounds.iter().map(|(sign, numbers)| format!("{sign}{}", Version(numbers.clone()))).collect();
            let condition = Condition::parse(&text.join(", ")).expect("bounds");
            prop_assert_eq!(condition.to_string(), text.join(","));
            prop_assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = Condition::parse(&text);
            let _ = Version::leading(&text);
        }

        #[test]
        fn a_relation_and_its_opposite_never_agree(version in numbers(), bound in numbers()) {
            for (one, other) in [("<", ">="), (">", "<="), ("=", "!=")] {
                let answer = |sign: &str| Condition(vec![(Condition::parse(&format!("{sign}1")).expect("a bound").0[0].0, Version(bound.clone()))]).holds(&Version(version.clone()));
                prop_assert_eq!(answer(one), answer(other).map(|answer| !answer));
            }
        }

        /// Knowing more numbers of a version never reverses an answer.
        #[test]
        fn an_answer_stands(bounds in proptest::collection::vec((relation(), numbers()), 1..4), version in numbers(), more in 0..20u32) {
            let text: Vec<String> = bounds.iter().map(|(sign, numbers)| format!("{sign}{}", Version(numbers.clone()))).collect();
            let condition = Condition::parse(&text.join(",")).expect("bounds");
            if let Some(answer) = condition.holds(&Version(version.clone())) {
                let longer = Version(version.into_iter().chain([more]).collect());
                prop_assert_eq!(condition.holds(&longer), Some(answer));
            }
        }
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in
            [("*", ""), ("linux-6.*", "linux-6.12"), ("*.1", "linux-6.1.1"), ("a?c", "abc"), ("a**b", "ab")]
        {
            assert!(matches_pattern(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("linux-6.?", "linux-6.12"), ("a?", "a"), ("a*b", "abc"), ("A", "a")] {
            assert!(!matches_pattern(pattern, text), "{pattern} {text}");
        }
    }
}
