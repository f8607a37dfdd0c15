//! A drawing cut into columns: which text belongs to which thread.

use super::DiagramError;

/// A cell may be set in by so many characters, or by as many as its thread's name has.
const SET_IN_MAX: usize = 8;
/// A cell may have slipped to the left of its thread's name by so many characters.
const SLIPPED_MAX: usize = 2;

/// The column of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// Character at which the name begins.
    pub start: usize,
}

/// A text in a row, without blanks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// Character at which it begins.
    pub start: usize,
    pub words: String,
    /// Only one blank is between it and the text before it.
    pub close: bool,
}

impl Text {
    fn len(&self) -> usize {
        self.words.chars().count()
    }

    pub(super) fn error(&self, row: usize, message: impl Into<String>, hint: &str) -> DiagramError {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        DiagramError { row, column: self.start, length: self.len().max(1), message: message.into(), hint }
    }
}

/// A row without its comment, which begins with a `#` at the row's beginning or behind a blank.
pub(super) fn without_comment(row: &str) -> &str {
    let mut before = ' ';
    for (at, c) in row.char_indices() {
        if c == '#' && before.is_whitespace() {
            return row[..at].trim_end();
        }
        before = c;
    }
    row.trim_end()
}

/// The texts of a row, which stand at least two blanks apart. A text that begins exactly under a name, behind one blank,
/// begins anew; a `.` that stands alone is a text of its own.
pub(super) fn texts(row: &str, columns: &[Column]) -> Vec<Text> {
    let characters: Vec<char> = row.chars().collect();
    let blank = |at: usize| characters.get(at).is_none_or(|c| c.is_whitespace());
    let lone_dot = |at: usize| characters[at] == '.' && blank(at + 1) && (at == 0 || blank(at - 1));
    let mut texts: Vec<Text> = Vec::new();
    let mut last_end = None;
    for at in (0..characters.len()).filter(|at| !blank(*at)) {
        let begins_word = at == 0 || blank(at - 1);
        let joined = last_end.is_some_and(|end| at == end) && !begins_word;
        let next_word = last_end.is_some_and(|end| at == end + 1) && begins_word;
        let cut = columns.iter().any(|column| column.start == at)
            || lone_dot(at)
            || texts.last().is_some_and(|text| text.words == ".");
        if joined {
            texts.last_mut().into_iter().for_each(|text| text.words.push(characters[at]));
        } else if next_word && !cut {
            texts.last_mut().into_iter().for_each(|text| text.words.extend([' ', characters[at]]));
        } else {
            texts.push(Text { start: at, words: characters[at].to_string(), close: next_word });
        }
        last_end = Some(at + 1);
    }
    texts
}

/// The columns that the first row names.
pub(super) fn columns(row: usize, header: &str, errors: &mut Vec<DiagramError>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for text in texts(header, &[]) {
        if text.words.contains(' ') {
            let hint = "names of threads are single words, two or more blanks apart";
            errors.push(text.error(row, format!("'{}' is more than one word", text.words), hint));
        } else if let Err(c) = thread_name(&text.words) {
            let hint = "letters, digits, `_`, `-` and `.` are allowed; the first row names the threads";
            let mut error = text.error(row, format!("the thread's name '{}' has {c:?} in it", text.words), hint);
            error.column += text.words.chars().position(|other| other == c).unwrap_or_default();
            error.length = 1;
            errors.push(error);
        } else if columns.iter().any(|column| column.name == text.words) {
            errors.push(text.error(row, format!("another thread is called '{}' already", text.words), ""));
        }
        columns.push(Column { name: text.words, start: text.start });
    }
    columns
}

/// Whether a thread can be called so: letters, digits, `_`, `-` and `.`, and a letter, a digit or `_` first.
///
/// # Errors
///
/// The first character that it may not have.
pub fn thread_name(name: &str) -> Result<(), char> {
    match name.chars().find(|c| !(c.is_alphanumeric() || "_-.".contains(*c))) {
        None => name.chars().next().filter(|c| "-.".contains(*c)).map_or(Ok(()), Err),
        Some(wrong) => Err(wrong),
    }
}

/// Which column a text belongs to: the one that it begins under exactly, else the only one that it is set in from or
/// has slipped from; on an error, what is wrong with it.
pub(super) fn column_of(columns: &[Column], text: &Text) -> Result<usize, (String, String)> {
    if let Some(exact) = columns.iter().position(|column| column.start == text.start) {
        return Ok(exact);
    }
    let claims: Vec<usize> = (0..columns.len()).filter(|index| claims(columns, *index, text.start)).collect();
    match claims.as_slice() {
        [only] => Ok(*only),
        [] => {
            let apart = columns.iter().map(|column| {
                let (by, side) = match text.start.checked_sub(column.start) {
                    Some(by) => (by, "right"),
                    None => (column.start - text.start, "left"),
                };
                (by, format!("{by} characters {side} of `{}`", column.name))
            });
            let mut apart: Vec<(usize, String)> = apart.collect();
            apart.sort();
            let told: Vec<String> = apart.into_iter().take(2).map(|(_, told)| told).collect();
            let message = format!("this begins under no thread's name: {}", told.join(" and "));
            Err((message, "let it begin under the first character of its thread's name".to_owned()))
        }
        [one, other, ..] => {
            let message =
                format!("this could be `{}`'s, set in, or `{}`'s, slipped", columns[*one].name, columns[*other].name);
            let hint = "let it begin under the first character of its thread's name, or set the columns further apart";
            Err((message, hint.to_owned()))
        }
    }
}

/// Whether a text that begins at `start` can belong to a column.
fn claims(columns: &[Column], index: usize, start: usize) -> bool {
    let column = &columns[index];
    let reach = column.start + SET_IN_MAX.max(column.name.chars().count().saturating_sub(1));
    let next = columns.get(index + 1).map_or(usize::MAX, |next| next.start);
    (column.start.saturating_sub(SLIPPED_MAX)..=reach.min(next.saturating_sub(1))).contains(&start)
}
