//! Drawings in columns.

use super::model::{Diagram, DiagramError, Placed, thread_name};
use super::{point, steps};

/// Reads a drawing: a row with the names of the threads, a ruler if one likes, and a row for each
/// step.
///
/// # Errors
///
/// Everything that is wrong with it, by row and column of `text`.
pub fn parse_drawing(text: &str) -> Result<Diagram, Vec<DiagramError>> {
    let rows: Vec<&str> = text.lines().collect();
    let mut errors = Vec::new();
    for (row, line) in rows.iter().enumerate() {
        if let Some(column) = without_comment(line).chars().position(|c| c == '\t') {
            let hint = Some("a tab has no width of its own; write blanks".to_owned());
            errors.push(DiagramError { row, column, length: 1, message: "found a tab".to_owned(), hint });
        }
    }
    let mut written = rows
        .iter()
        .enumerate()
        .map(|(row, line)| (row, without_comment(line)))
        .filter(|(_, line)| !line.trim().is_empty())
        .peekable();
    let Some((header_row, header)) = written.next() else {
        return Err(vec![empty(0)]);
    };
    let columns = columns(header_row, header, &mut errors);
    written.next_if(|(_, line)| is_ruler(line));
    if !errors.is_empty() {
        // Where the columns are not known, nothing below them is.
        return Err(errors);
    }
    let mut steps = Vec::new();
    for (row, line) in written {
        let found = texts(line, &columns);
        read_row(row, &found, &columns, &mut steps, &mut errors);
    }
    if steps.is_empty() && errors.is_empty() {
        return Err(vec![empty(header_row)]);
    }
    let threads: Vec<String> = columns.into_iter().map(|column| column.name).collect();
    steps::check(&threads, &steps, &mut errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(errors);
    }
    let first = rows.iter().position(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut drawing: Vec<String> = rows[first..].iter().map(|line| line.trim_end().to_owned()).collect();
    while drawing.last().is_some_and(String::is_empty) {
        drawing.pop();
    }
    Ok(steps::diagram(threads, steps, drawing, |row| row - first))
}

fn empty(row: usize) -> DiagramError {
    DiagramError {
        row,
        column: 0,
        length: 1,
        message: "the diagram has no step".to_owned(),
        hint: Some("the first row names the threads, and every row below it says what one of them does".to_owned()),
    }
}

/// A row of dashes under the names.
fn is_ruler(line: &str) -> bool {
    line.chars().all(|c| c.is_whitespace() || "-=_─━–—".contains(c))
}

/// The step of a row, if there is one.
fn read_row(row: usize, found: &[Text], columns: &[Column], steps: &mut Vec<Placed>, errors: &mut Vec<DiagramError>) {
    let mut said = found.iter().filter(|text| text.words != ".");
    let Some(text) = said.next() else { return };
    let mut column = column_of(columns, text);
    if let Ok(index) = column
        && dotted(found, text, columns, index)
    {
        let name = &columns[index].name;
        let message = format!("this begins under `{name}`, which has a `.` in this row, and under no other name");
        column = Err((message, "let it begin under the first character of its thread's name".to_owned()));
    }
    let action = match (&column, said.next()) {
        (_, Some(more)) => Err(second(row, text, more, columns)),
        (Err((message, hint)), None) => Err(text.error(row, message, hint)),
        (Ok(column), None) => point::read(&text.words, text.start > columns[*column].start)
            .map_err(|wrong| wrong.of(&text.words, row, text.start)),
    };
    // Whose step it was may not be known.
    let thread = column.unwrap_or(usize::MAX);
    let action = action.map_err(|error| errors.push(error)).ok();
    steps.push(Placed { thread, action, text: text.words.clone(), row, column: text.start });
}

/// Whether the column has a `.` left of the text, and so nothing to say in this row.
fn dotted(found: &[Text], text: &Text, columns: &[Column], column: usize) -> bool {
    found.iter().take_while(|other| other.start < text.start).any(|dot| column_of(columns, dot) == Ok(column))
}

/// The error of a row that says more than one thing.
fn second(row: usize, first: &Text, text: &Text, columns: &[Column]) -> DiagramError {
    let owner = |text| column_of(columns, text).ok();
    match (owner(first), owner(text)) {
        (Some(one), Some(other)) if one != other => {
            let hint = if text.close {
                "give each its own row; if it is one thing, set the columns further apart"
            } else {
                "give each its own row"
            };
            text.error(row, "two things in one row have no order", hint)
        }
        (_, None) | (None, _) => {
            let (message, _) = column_of(columns, text).err().unwrap_or_default();
            let message = if message.is_empty() { "two things in one row have no order".to_owned() } else { message };
            text.error(row, message, "a row says one thing of one thread, its words one blank apart")
        }
        (Some(_), Some(_)) => {
            text.error(row, "two texts of one thread in one row", "leave one blank between the words of a cell")
        }
    }
}

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

/// The texts of a row, which stand at least two blanks apart. A text that begins exactly under a
/// name, behind one blank, begins anew; a `.` that stands alone is a text of its own.
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

/// Which column a text belongs to: the one that it begins under exactly, else the only one that it
/// is set in from or has slipped from; on an error, what is wrong with it.
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
