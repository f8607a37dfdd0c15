//! Drawings in columns.

use super::grid::{self, Column, Text};
use super::{Diagram, DiagramError, Placed, order, words};

/// Reads a drawing: a row with the names of the threads, a ruler if one likes, and a row for each step.
///
/// # Errors
///
/// Everything that is wrong with it, by row and column of `text`.
pub fn parse_drawing(text: &str) -> Result<Diagram, Vec<DiagramError>> {
    let rows: Vec<&str> = text.lines().collect();
    let mut errors = Vec::new();
    for (row, line) in rows.iter().enumerate() {
        if let Some(column) = grid::without_comment(line).chars().position(|c| c == '\t') {
            let hint = Some("a tab has no width of its own; write blanks".to_owned());
            errors.push(DiagramError { row, column, length: 1, message: "found a tab".to_owned(), hint });
        }
    }
    let mut written = rows
        .iter()
        .enumerate()
        .map(|(row, line)| (row, grid::without_comment(line)))
        .filter(|(_, line)| !line.trim().is_empty())
        .peekable();
    let Some((header_row, header)) = written.next() else {
        return Err(vec![empty(0)]);
    };
    let columns = grid::columns(header_row, header, &mut errors);
    written.next_if(|(_, line)| is_ruler(line));
    if !errors.is_empty() {
        // Where the columns are not known, nothing below them is.
        return Err(errors);
    }
    let mut steps = Vec::new();
    for (row, line) in written {
        let found = grid::texts(line, &columns);
        read_row(row, &found, &columns, &mut steps, &mut errors);
    }
    if steps.is_empty() && errors.is_empty() {
        return Err(vec![empty(header_row)]);
    }
    let threads: Vec<String> = columns.into_iter().map(|column| column.name).collect();
    order::check(&threads, &steps, &mut errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(errors);
    }
    let first = rows.iter().position(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut drawing: Vec<String> = rows[first..].iter().map(|line| line.trim_end().to_owned()).collect();
    while drawing.last().is_some_and(String::is_empty) {
        drawing.pop();
    }
    Ok(order::diagram(threads, steps, drawing, |row| row - first))
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
    let mut column = grid::column_of(columns, text);
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
        (Ok(column), None) => words::read(&text.words, text.start > columns[*column].start)
            .map_err(|wrong| wrong.of(&text.words, row, text.start)),
    };
    // Whose step it was may not be known.
    let thread = column.unwrap_or(usize::MAX);
    let action = action.map_err(|error| errors.push(error)).ok();
    steps.push(Placed { thread, action, text: text.words.clone(), row, column: text.start });
}

/// Whether the column has a `.` left of the text, and so nothing to say in this row.
fn dotted(found: &[Text], text: &Text, columns: &[Column], column: usize) -> bool {
    found.iter().take_while(|other| other.start < text.start).any(|dot| grid::column_of(columns, dot) == Ok(column))
}

/// The error of a row that says more than one thing.
fn second(row: usize, first: &Text, text: &Text, columns: &[Column]) -> DiagramError {
    let owner = |text| grid::column_of(columns, text).ok();
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
            let (message, _) = grid::column_of(columns, text).err().unwrap_or_default();
            let message = if message.is_empty() { "two things in one row have no order".to_owned() } else { message };
            text.error(row, message, "a row says one thing of one thread, its words one blank apart")
        }
        (Some(_), Some(_)) => {
            text.error(row, "two texts of one thread in one row", "leave one blank between the words of a cell")
        }
    }
}
