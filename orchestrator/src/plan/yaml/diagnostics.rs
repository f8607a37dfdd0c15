//! Errors in a file, printed for people: one line each, or with the source around them.

use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::Arc;

use miette::{GraphicalReportHandler, LabeledSpan, NamedSource, SourceCode};

use super::places::{KeyPath, Mark, Places};
use crate::printable::{one_line, paragraph, same_length};

/// Size in bytes of the largest file that is read. Plans with ten thousand cells are far smaller.
pub const BYTES_MAX: usize = 1 << 20;

/// One error in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub at: Mark,
    /// Which key or item; the root for the file as a whole.
    pub path: KeyPath,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(super) fn too_large() -> Self {
        Self {
            at: Mark::start(),
            path: KeyPath::root(),
            message: format!("the file is larger than {BYTES_MAX} bytes, more of which are not read"),
            hint: Some("cut it into several files".to_owned()),
        }
    }
}

/// Every error in one file, by line and column. Prints as one line for each: `file:line:column:
/// key.path: message (hint)`. Whatever the file says, nothing of it reaches a terminal as anything
/// but text.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    file: PathBuf,
    text: Arc<str>,
    list: Vec<Diagnostic>,
    /// Whether there are more errors than the list has.
    more: bool,
}

/// How errors are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line each.
    Plain,
    /// With the source around each, in colour.
    Fancy,
}

impl Style {
    /// What suits standard error: fancy on a terminal unless `NO_COLOR` is set
    /// (<https://no-color.org>).
    pub fn for_stderr() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stderr().is_terminal() && !no_color { Self::Fancy } else { Self::Plain }
    }
}

impl Diagnostics {
    /// Errors in `file`, whose contents are `text`; `more` when the list does not hold them all.
    pub fn new(file: &Path, text: &str, mut list: Vec<Diagnostic>, more: bool) -> Self {
        list.sort_by_key(|diagnostic| (diagnostic.at.line, diagnostic.at.column));
        Self { file: file.to_path_buf(), text: text.into(), list, more }
    }

    /// The error for a file that cannot be read, when nothing else explains why.
    pub fn unreadable(file: &Path) -> Self {
        let message = "this cannot be read".to_owned();
        let diagnostic = Diagnostic { at: Mark::start(), path: KeyPath::root(), message, hint: None };
        Self::new(file, "", vec![diagnostic], false)
    }

    /// The error of a file of more than [`BYTES_MAX`] bytes.
    pub fn too_large(file: &Path) -> Self {
        Self::new(file, "", vec![Diagnostic::too_large()], false)
    }

    /// The error of a file that is not UTF-8 text.
    pub fn not_utf8(file: &Path, error: &FromUtf8Error) -> Self {
        let bytes = error.as_bytes();
        let text = String::from_utf8_lossy(bytes);
        let before = &bytes[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        let message = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            "the file is UTF-16 text"
        } else {
            "found a byte that is not UTF-8 text"
        };
        let diagnostic = Diagnostic {
            at: Places::new(&text).at(&text, line, column),
            path: KeyPath::root(),
            message: message.to_owned(),
            hint: Some("save the file as UTF-8".to_owned()),
        };
        Self::new(file, &text, vec![diagnostic], false)
    }

    /// The errors, by line and column; at least one.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The file they are in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The errors as text that ends with a newline.
    pub fn render(&self, style: Style) -> String {
        match style {
            Style::Plain => format!("{self}\n"),
            Style::Fancy => self.fancy(&GraphicalReportHandler::new()),
        }
    }

    fn fancy(&self, handler: &GraphicalReportHandler) -> String {
        let safe: Arc<str> = same_length(&self.text).into();
        let source = NamedSource::new(one_line(&self.file.display().to_string()), safe).with_language("yaml");
        let mut out = String::new();
        for diagnostic in &self.list {
            let report = Report { diagnostic, source: &source };
            if handler.render_report(&mut out, &report).is_err() {
                return format!("{self}\n");
            }
        }
        if self.more {
            out.push_str(&self.rest());
            out.push('\n');
        }
        out
    }

    /// The line that says that the list is not complete.
    fn rest(&self) -> String {
        format!(
            "{}: there are more than these {} errors: mend them and check again",
            self.file.display(),
            self.list.len()
        )
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Diagnostic { at, path, message, hint }) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: ", one_line(&self.file.display().to_string()), at.line, at.column)?;
            if !path.is_root() {
                write!(f, "{}: ", one_line(&path.to_string()))?;
            }
            f.write_str(&paragraph(message))?;
            if let Some(hint) = hint {
                write!(f, " ({})", one_line(hint))?;
            }
        }
        if self.more {
            write!(f, "\n{}", self.rest())?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// One error in the form that miette prints.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: &'a NamedSource<Arc<str>>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { path, message, .. } = self.diagnostic;
        let message = paragraph(message);
        if path.is_root() { f.write_str(&message) } else { write!(f, "{}: {message}", one_line(&path.to_string())) }
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.hint.as_ref().map(|hint| Box::new(one_line(hint)) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Mark { offset, len, .. } = self.diagnostic.at;
        Some(Box::new(std::iter::once(LabeledSpan::underline((offset, len)))))
    }
}

#[cfg(test)]
mod tests {
    use miette::GraphicalTheme;

    use super::*;

    #[test]
    fn the_fancy_form_shows_the_source() {
        let text = "a: 1\nbb: two\n";
        let diagnostic = Diagnostic {
            at: Mark { line: 2, column: 5, offset: 9, len: 3 },
            path: KeyPath::keys(&["bb"]),
            message: "found text 'two', expected a whole number".into(),
            hint: Some("write 2".into()),
        };
        let diagnostics = Diagnostics::new(Path::new("p.yaml"), text, vec![diagnostic], false);
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(80);
        insta::assert_snapshot!(diagnostics.fancy(&handler), @r"
         × bb: found text 'two', expected a whole number
          ╭─[p.yaml:2:5]
        1 │ a: 1
        2 │ bb: two
          ·     ───
          ╰────
         help: write 2
        ");
    }

    #[test]
    fn nothing_of_a_file_drives_a_terminal() {
        let text = "a: \u{1b}[2J\u{202e}x\n";
        let diagnostic = Diagnostic {
            at: Mark { line: 1, column: 4, offset: 3, len: 8 },
            path: KeyPath::keys(&["a\n\u{9b}"]),
            message: "found '\u{1b}[2J\u{202e}x\r\nok: 1 cell'".into(),
            hint: Some("write \u{7}".into()),
        };
        let diagnostics = Diagnostics::new(Path::new("p\u{1b}.yaml"), text, vec![diagnostic], false);
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(80);
        let plain = diagnostics.render(Style::Plain);
        assert!(!plain.contains("\nok"), "{plain}");
        for shown in [plain, diagnostics.fancy(&handler)] {
            let unsafe_one = shown.chars().find(|letter| *letter != '\n' && crate::printable::is_unsafe(*letter));
            assert_eq!(unsafe_one, None, "{shown:?}");
        }
    }
}
