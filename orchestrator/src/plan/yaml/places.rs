//! Places in a file: by keys and indices, and by line and column.

use std::fmt;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// From 0, in bytes.
    pub offset: usize,
    /// In bytes, within the line.
    pub len: usize,
}

impl Mark {
    /// The start of a file.
    pub fn start() -> Self {
        Self { line: 1, column: 1, offset: 0, len: 0 }
    }

    /// The same place, `len` bytes long but not past the end of its line.
    pub(super) fn long(self, text: &str, len: usize) -> Self {
        let rest = text.get(self.offset..).unwrap_or_default();
        let mut end = self.offset + len.min(rest.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let part = text.get(self.offset..end).unwrap_or_default();
        Self { len: part.find(['\n', '\r']).unwrap_or(part.len()), ..self }
    }
}

/// Distance in characters between remembered places.
const STRIDE: usize = 64;

/// Where the lines of a text begin, and every 64th of its characters.
#[derive(Debug)]
pub(super) struct Places {
    /// Byte and character at which each line begins.
    lines: Vec<(usize, usize)>,
    /// Byte of every [`STRIDE`]th character.
    strides: Vec<usize>,
}

impl Places {
    pub(super) fn new(text: &str) -> Self {
        let mut lines = vec![(0, 0)];
        let mut strides = Vec::with_capacity(text.len() / STRIDE + 1);
        for (index, (byte, character)) in text.char_indices().enumerate() {
            if index % STRIDE == 0 {
                strides.push(byte);
            }
            if character == '\n' && byte + 1 < text.len() {
                lines.push((byte + 1, index + 1));
            }
        }
        Self { lines, strides }
    }

    /// The place at `line` and `column`, both from 1, or the nearest one in the text.
    pub(super) fn at(&self, text: &str, line: usize, column: usize) -> Mark {
        self.walk(text, line, column).0
    }

    /// A place, and how many characters were walked to find it.
    fn walk(&self, text: &str, line: usize, column: usize) -> (Mark, usize) {
        let past = line > self.lines.len();
        let row = line.clamp(1, self.lines.len()) - 1;
        let (start, first) = self.lines[row];
        let end = self.lines.get(row + 1).map_or(text.len(), |(next, _)| *next);
        let last = start + text[start..end].trim_end_matches(['\n', '\r']).len();
        let wanted = if past { usize::MAX } else { first + column.max(1) - 1 };
        // The stride that the character is in, or the last one that begins within the line.
        let in_line = self.strides.partition_point(|byte| *byte <= last);
        let stride = (wanted / STRIDE).min(in_line.saturating_sub(1));
        let (mut offset, mut character) = match self.strides.get(stride) {
            Some(byte) if *byte >= start => (*byte, stride * STRIDE),
            _ => (start, first),
        };
        let mut walked = 0;
        while character < wanted && offset < last {
            offset += text[offset..].chars().next().map_or(1, char::len_utf8);
            character += 1;
            walked += 1;
        }
        (Mark { line: row + 1, column: character - first + 1, offset, len: 0 }, walked)
    }
}

/// Lines without their ends.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(|line| line.trim_end_matches(['\n', '\r']))
}

/// One step from a node to one of its children.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a map.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// Steps from the file's root; `kernels[0].sysctl["vm.swappiness"]` when printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The whole file.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path from steps, skipping `None`.
    pub(super) fn from_steps(steps: impl Iterator<Item = Option<Step>>) -> Self {
        Self(steps.flatten().collect())
    }

    /// A path from the keys of maps alone.
    pub fn keys(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// The value of `key` in the map here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// Item `index` of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The steps, outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Where the last step leads to.
    pub fn last(&self) -> Option<&Step> {
        self.0.last()
    }

    /// The node around; none for the root.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, rest)| Self(rest.to_vec()))
    }

    /// Whether this is the whole file.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_plain(key) && position == 0 => f.write_str(key)?,
                Step::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The place found by walking the whole text.
    fn slow(text: &str, line: usize, column: usize) -> Mark {
        let rows: Vec<&str> = if text.is_empty() { vec![""] } else { text.split_inclusive('\n').collect() };
        let row = line.clamp(1, rows.len()) - 1;
        let start: usize = rows[..row].iter().map(|row| row.len()).sum();
        let within = rows[row].trim_end_matches(['\n', '\r']);
        let wanted = if line > rows.len() { usize::MAX } else { column.max(1) - 1 };
        let before: String = within.chars().take(wanted).collect();
        Mark { line: row + 1, column: before.chars().count() + 1, offset: start + before.len(), len: 0 }
    }

    proptest! {
        #[test]
        fn a_place_is_where_a_walk_from_the_start_ends(text in "([aé\u{1F980}]{0,200}(\n|\r\n)?){0,4}", line in 0..8_usize, column in 0..300_usize) {
            prop_assert_eq!(Places::new(&text).at(&text, line, column), slow(&text, line, column));
        }

        #[test]
        fn no_place_is_far_from_one_that_is_known(width in 0..5_000_usize, column in 0..6_000_usize) {
            let text = format!("{}\n{}", "é".repeat(width), "a".repeat(width));
            for line in 1..3 {
                let (_, walked) = Places::new(&text).walk(&text, line, column);
                prop_assert!(walked <= STRIDE, "{walked} characters from the nearest known place");
            }
        }
    }

    #[test]
    fn a_length_ends_with_its_line() {
        let text = "ab\ncd";
        assert_eq!(Mark::start().long(text, 9).len, 2);
        assert_eq!(Mark::start().long("é", 1).len, 0);
    }

    #[test]
    fn keys_that_could_be_misread_are_quoted() {
        let path = KeyPath::keys(&["guest", "sysctl"]).key("vm.swappiness").index(3).key("a");
        assert_eq!(path.to_string(), r#"guest.sysctl["vm.swappiness"][3].a"#);
    }
}
