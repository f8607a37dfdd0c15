//! Places in a text: line and column to byte, without walking the text anew for each.

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

/// Characters between two places whose bytes are remembered.
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

    /// The place at `line` and `column` of the text that this was made of, both from 1, or the nearest one there is.
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
}
