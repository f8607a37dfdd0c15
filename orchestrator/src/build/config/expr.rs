//! Kconfig's dependency expressions (Documentation/kbuild/kconfig-language.rst in the kernel tree).

use std::collections::BTreeSet;

use super::options::Values;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// An option, by name; its value counts.
    Symbol(String),
    /// `y`, `m` or `n`.
    Constant(u8),
    /// `A = b`, `A != b`, `A < 5` …: both sides as text.
    Compare(String, &'static str, String),
    /// Something that only Kconfig can evaluate, such as `$(cc-option,-m64)`.
    Unknown,
    /// `!e`.
    Not(Box<Expr>),
    /// `a && b`.
    And(Box<Expr>, Box<Expr>),
    /// `a || b`.
    Or(Box<Expr>, Box<Expr>),
}

impl Expr {
    /// Parses an expression; anything else becomes [`Expr::Unknown`].
    pub fn parse(text: &str) -> Self {
        let tokens = tokens(text);
        let mut parser = Parser { tokens: &tokens, at: 0 };
        parser.or().filter(|_| parser.at == tokens.len()).unwrap_or(Self::Unknown)
    }

    /// Value under a configuration: 0 = n, 1 = m, 2 = y; none if unknown.
    pub fn eval(&self, values: &Values) -> Option<u8> {
        match self {
            Self::Symbol(name) => Some(tristate(values.get(name))),
            Self::Constant(value) => Some(*value),
            Self::Compare(left, operator, right) => compare(&resolve(left, values), operator, &resolve(right, values)),
            Self::Unknown => None,
            Self::Not(inner) => inner.eval(values).map(|value| 2 - value),
            Self::And(left, right) => match (left.eval(values), right.eval(values)) {
                (Some(0), _) | (_, Some(0)) => Some(0),
                (left, right) => Some(left?.min(right?)),
            },
            Self::Or(left, right) => match (left.eval(values), right.eval(values)) {
                (Some(2), _) | (_, Some(2)) => Some(2),
                (left, right) => Some(left?.max(right?)),
            },
        }
    }

    /// Names of the options in it, in alphabetical order.
    pub fn symbols(&self) -> BTreeSet<&str> {
        match self {
            Self::Symbol(name) => [name.as_str()].into(),
            Self::Compare(left, _, right) => {
                [left, right].into_iter().map(String::as_str).filter(|side| !literal(side)).collect()
            }
            Self::Constant(_) | Self::Unknown => BTreeSet::new(),
            Self::Not(inner) => inner.symbols(),
            Self::And(left, right) | Self::Or(left, right) => left.symbols().union(&right.symbols()).copied().collect(),
        }
    }
}

fn tristate(value: &str) -> u8 {
    match value {
        "y" => 2,
        "m" => 1,
        _ => 0,
    }
}

fn literal(side: &str) -> bool {
    side.starts_with(['"', '\''])
        || matches!(side, "y" | "m" | "n")
        || !side.starts_with(|first: char| first.is_ascii_uppercase())
}

fn resolve(side: &str, values: &Values) -> String {
    let value = if literal(side) { side } else { values.get(side) };
    value.trim_matches(['"', '\'']).to_owned()
}

fn compare(left: &str, operator: &str, right: &str) -> Option<u8> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse::<i64>().ok(),
    };
    let truth = match (operator, number(left), number(right)) {
        ("=", ..) => left == right,
        ("!=", ..) => left != right,
        ("<", Some(left), Some(right)) => left < right,
        ("<=", Some(left), Some(right)) => left <= right,
        (">", Some(left), Some(right)) => left > right,
        (">=", Some(left), Some(right)) => left >= right,
        _ => return None,
    };
    Some(if truth { 2 } else { 0 })
}

/// Splits at operators; a `$(…)` macro and a quoted string are one token each.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let start = at;
        at += match first {
            ' ' | '\t' => {
                at += 1;
                continue;
            }
            '#' => break,
            '"' | '\'' => 2 + chars[at + 1..].iter().take_while(|&&c| c != first).count(),
            '$' => macro_length(&chars[at..]),
            '&' | '|' => 2,
            '!' | '<' | '>' if chars.get(at + 1) == Some(&'=') => 2,
            '(' | ')' | '!' | '<' | '>' | '=' => 1,
            _ => chars[at..]
                .iter()
                .take_while(|&&c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
                .count()
                .max(1),
        };
        at = at.min(chars.len());
        tokens.push(chars[start..at].iter().collect());
    }
    tokens
}

fn macro_length(chars: &[char]) -> usize {
    let mut depth = 0_usize;
    for (index, c) in chars.iter().enumerate() {
        match c {
            '(' => depth += 1,
            ')' if depth <= 1 => return index + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    chars.len()
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
}

impl Parser<'_> {
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token == wanted);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Option<Expr> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expr> {
        let mut left = self.not()?;
        while self.take("&&") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expr> {
        if self.take("!") {
            return Some(Expr::Not(Box::new(self.not()?)));
        }
        if self.take("(") {
            let inner = self.or()?;
            return self.take(")").then_some(inner);
        }
        let left = self.tokens.get(self.at)?.clone();
        self.at += 1;
        for operator in ["=", "!=", "<", "<=", ">", ">="] {
            if self.take(operator) {
                let right = self.tokens.get(self.at)?.clone();
                self.at += 1;
                return Some(if left.starts_with('$') || right.starts_with('$') {
                    Expr::Unknown
                } else {
                    Expr::Compare(left, operator, right)
                });
            }
        }
        Some(match left.as_str() {
            "y" | "m" | "n" => Expr::Constant(tristate(&left)),
            name if name.starts_with(|first: char| first.is_ascii_alphanumeric()) => Expr::Symbol(left),
            _ => Expr::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(text: &str) -> Option<u8> {
        let values = Values::parse("CONFIG_YES=y\nCONFIG_MOD=m\nCONFIG_NUM=64\nCONFIG_64BIT=y\nCONFIG_TEXT=\"lzo\"\n");
        Expr::parse(text).eval(&values)
    }

    #[test]
    fn three_values() {
        assert_eq!(eval("YES && MOD"), Some(1));
        assert_eq!(eval("NO || MOD"), Some(1));
        assert_eq!(eval("!MOD"), Some(1));
        assert_eq!(eval("YES && !(NO || YES)"), Some(0));
        assert_eq!(eval("64BIT && YES"), Some(2));
        assert_eq!(eval("NO && NO || YES # comment"), Some(2));
    }

    #[test]
    fn comparisons() {
        assert_eq!(eval("MOD=m"), Some(2));
        assert_eq!(eval("NO = n && TEXT = \"lzo\""), Some(2));
        assert_eq!(eval("NUM >= 0x40"), Some(2));
        assert_eq!(eval("NUM < 64"), Some(0));
    }

    #[test]
    fn the_unknown_stays_unknown_unless_it_does_not_matter() {
        assert_eq!(eval("$(cc-option,-mfoo(1))"), None);
        assert_eq!(eval("$(success,test -n x) && YES"), None);
        assert_eq!(eval("$(success,test -n x) && NO"), Some(0));
        assert_eq!(eval("YES &&"), None);
        assert_eq!(eval("((("), None);
    }

    #[test]
    fn symbols_are_listed_once() {
        let expr = Expr::parse("A && (B || !A) && C = \"x\" && D != y");
        assert_eq!(expr.symbols().into_iter().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
    }
}
