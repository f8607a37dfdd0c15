//! A byte stream cut into lines.

/// Longest line handed on whole; a longer one comes in pieces.
const LONGEST: usize = 1 << 20;

/// The beginning of a line whose end has not come yet.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and hands out the lines they complete, without their newlines; false when `each` wants no more.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Vec<u8>) -> bool) -> bool {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (body, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |body| (body, true));
            self.partial.extend_from_slice(body);
            if (ends || self.partial.len() >= LONGEST) && !each(std::mem::take(&mut self.partial)) {
                return false;
            }
        }
        true
    }

    /// What stands after the last newline.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.partial)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cutting_anywhere_changes_nothing(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for pair in cuts.windows(2) {
                lines.push(&text.as_bytes()[pair[0]..pair[1]], |line| { got.push(line); true });
            }
            got.extend(lines.rest());
            let want: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(got, want);
        }
    }
}
