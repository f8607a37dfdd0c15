//! YAML files read into types, with every error in them found at once and each at its line and
//! column.
//!
//! `serde_yaml` does the reading; `nodes` remembers where each key and value stands. serde stops at
//! its first error, so [`Document::read`] takes the offending node out and reads again until
//! nothing is left to complain about.

mod diagnostics;
mod loose;
mod nodes;
mod places;
#[cfg(test)]
mod tests;
mod wording;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::Value;

pub use diagnostics::{BYTES_MAX, Diagnostic, Diagnostics, Style};
use nodes::{Node, Scan};
pub use places::Mark;
use places::Places;
pub use places::{KeyPath, Step};

/// The most errors reported for one file.
const MOST_ERRORS: usize = 100;

/// Reads a whole YAML file, given as text; `file` is for the messages.
///
/// # Errors
///
/// Every unknown key, duplicate key and wrong type in the text, or its first syntax error.
pub fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, Diagnostics> {
    let (value, document) = Document::read(text, file);
    match value {
        Some(value) => document.finish().map(|()| value),
        None => Err(document.into_diagnostics()),
    }
}

/// `value` as YAML text.
///
/// # Errors
///
/// When the value has no YAML form, such as a map whose keys are maps.
pub fn write(value: &impl serde::Serialize) -> std::io::Result<String> {
    serde_yaml::to_string(value).map_err(std::io::Error::other)
}

/// A YAML text with the places of its keys and values, and what was found wrong with it so far.
#[derive(Debug)]
pub struct Document {
    file: PathBuf,
    text: Arc<str>,
    root: Option<Arc<Node>>,
    /// Items taken out of lists because they could not be read, by the list's path: what was read
    /// has other indices.
    removed_items: BTreeMap<KeyPath, BTreeSet<usize>>,
    removed: BTreeSet<KeyPath>,
    found: RefCell<Vec<Diagnostic>>,
    /// Whether more errors were found than are kept.
    more: Cell<bool>,
}

impl Document {
    /// Reads as much of `text` as makes sense. Unreadable parts are left out and reported in the
    /// document; the value is none if nothing useful remains.
    pub fn read<T: DeserializeOwned>(text: &str, file: &Path) -> (Option<T>, Self) {
        Self::read_except(text, file, |_| false)
    }

    /// Like [`Document::read`], without the top-level keys for which `ignored` holds.
    pub fn read_except<T: DeserializeOwned>(
        text: &str,
        file: &Path,
        ignored: impl Fn(&str) -> bool,
    ) -> (Option<T>, Self) {
        let mut document = Self {
            file: file.to_path_buf(),
            // Editors on some systems begin every file with a byte order mark.
            text: text.strip_prefix('\u{FEFF}').unwrap_or(text).into(),
            root: None,
            removed_items: BTreeMap::new(),
            removed: BTreeSet::new(),
            found: RefCell::default(),
            more: Cell::new(false),
        };
        let value = document.scan().map(|mut value| {
            if let Value::Mapping(map) = &mut value {
                map.retain(|key, _| !key.as_str().is_some_and(&ignored));
            }
            document.repair(value)
        });
        (value.flatten(), document)
    }

    /// Finds syntax errors and duplicate keys. Returns the tree if there is no syntax error.
    fn scan(&mut self) -> Option<Value> {
        let root = KeyPath::root();
        if self.text.len() > BYTES_MAX {
            self.found.borrow_mut().push(Diagnostic::too_large());
            return None;
        }
        let places = Places::new(&self.text);
        let scan = match Scan::of(&self.text, &places) {
            Ok(scan) => scan,
            Err(refusal) if !refusal.syntax => {
                self.push(refusal.at, &root, refusal.message, refusal.hint.map(str::to_owned));
                return None;
            }
            Err(refusal) => {
                // serde_yaml's words for a syntax error are the better ones, where it finds one
                // too.
                let worded = serde_yaml::from_str::<loose::Loose>(&self.text).err();
                self.syntax_error(&places, worded.as_ref(), (refusal.at, &refusal.message));
                return None;
            }
        };
        let value = match serde_yaml::from_str::<loose::Loose>(&self.text) {
            Ok(loose) => loose.0,
            Err(error) => {
                self.syntax_error(&places, Some(&error), (Mark::start(), ""));
                return None;
            }
        };
        for duplicate in scan.duplicates {
            let message = format!("duplicate key `{}`", duplicate.key);
            let hint = format!("it stands on line {} already; keep one of them", duplicate.first.line);
            self.push(duplicate.again, &duplicate.path, message, Some(hint));
        }
        self.root = scan.root;
        Some(value)
    }

    /// Reports a syntax error in `serde_yaml`'s words if it found one, or else in the other
    /// parser's.
    fn syntax_error(&self, places: &Places, worded: Option<&serde_yaml::Error>, other: (Mark, &str)) {
        let (at, message) = match worded {
            Some(error) => {
                let at = error.location().map_or_else(Mark::start, |at| places.at(&self.text, at.line(), at.column()));
                (at, error.to_string())
            }
            None => (other.0, other.1.to_owned()),
        };
        // A tab may only show in that the lines after it make no sense.
        let above = places::lines(&self.text).take(at.line).collect::<Vec<_>>();
        let mut near = above.iter().enumerate().rev().filter(|(_, line)| !line.trim().is_empty()).take(2);
        let tab = near.find_map(|(row, line)| Some((row, tab_in_indentation(line)?)));
        if let Some((row, column)) = tab {
            let at = places.at(&self.text, row + 1, column + 1).long(&self.text, 1);
            let hint = "YAML takes blanks alone for that: write blanks in the tab's place".to_owned();
            self.push(at, &KeyPath::root(), "this line is indented with a tab".to_owned(), Some(hint));
        } else {
            self.push(at, &KeyPath::root(), wording::syntax(&message), None);
        }
    }

    /// Deserialises, removing unreadable nodes until the rest can be read.
    fn repair<T: DeserializeOwned>(&mut self, mut value: Value) -> Option<T> {
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(&value) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let at = KeyPath::from_steps(error.path().iter().map_while(|segment| match segment {
                Segment::Seq { index } => Some(Some(Step::Index(*index))),
                Segment::Map { key } => Some(Some(Step::Key(key.clone()))),
                Segment::Enum { .. } => Some(None),
                Segment::Unknown => None,
            }));
            let original = self.original(&at);
            let spelled = self.root.as_ref().and_then(|root| root.find(&original)).and_then(Node::scalar);
            let wording = wording::explain(&error.inner().to_string(), spelled);
            let already_told = wording.missing.as_ref().is_some_and(|key| self.removed.contains(&original.key(key)));
            if !already_told {
                let mark = if wording.about_key { self.key_mark(&original) } else { self.value_mark(&original) };
                self.push(mark, &original, wording.message, wording.hint);
            }
            if at.is_root() || self.more.get() {
                return None;
            }
            let taken = take(&mut value, &at)?;
            self.note_removal(&taken);
        }
    }

    fn note_removal(&mut self, at: &KeyPath) {
        let original = self.original(at);
        if let (Some(list), Some(Step::Index(index))) = (original.parent(), original.last()) {
            self.removed_items.entry(list).or_default().insert(*index);
        }
        self.removed.insert(original);
    }

    /// Translates a path in the value that was read into the path in the file.
    fn original(&self, path: &KeyPath) -> KeyPath {
        let mut original = KeyPath::root();
        for step in path.steps() {
            original = match step {
                Step::Key(key) => original.key(key),
                Step::Index(index) => {
                    let mut index = *index;
                    for removed in self.removed_items.get(&original).into_iter().flatten() {
                        if *removed <= index {
                            index += 1;
                        }
                    }
                    original.index(index)
                }
            };
        }
        original
    }

    /// Reports an error about the value at `path` of the value that was read, or about the nearest
    /// thing around it.
    pub fn error(&self, path: &KeyPath, message: impl Into<String>, hint: Option<String>) {
        let original = self.original(path);
        self.push(self.value_mark(&original), &original, message.into(), hint);
    }

    /// Reports an error about the key at `path` of the value that was read.
    pub fn key_error(&self, path: &KeyPath, message: impl Into<String>, hint: Option<String>) {
        let original = self.original(path);
        self.push(self.key_mark(&original), &original, message.into(), hint);
    }

    /// Reports an error about `length` characters from `column` of line `row` of the text at `path`
    /// of the value that was read; `row` and `column` from 0. Only a literal block (`|`) stands in
    /// the file as it was read: for another text the error is about the whole of it.
    pub fn text_error(
        &self,
        path: &KeyPath,
        (row, column, length): (usize, usize, usize),
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let original = self.original(path);
        let node = self.root.as_ref().and_then(|root| root.find(&original));
        let within = node.and_then(|node| node.within_block(&self.text, row, column, length));
        self.push(within.unwrap_or_else(|| self.value_mark(&original)), &original, message.into(), hint);
    }

    /// Reports that the map at `path` lacks `key`, unless an unreadable one was reported before.
    pub fn missing(&self, path: &KeyPath, key: &str, hint: Option<String>) {
        let original = self.original(path);
        if !self.removed.contains(&original.key(key)) {
            self.push(self.value_mark(&original), &original, format!("missing key `{key}`"), hint);
        }
    }

    /// Whether the file has something at `path`, readable or not.
    pub fn has(&self, path: &KeyPath) -> bool {
        let original = self.original(path);
        self.root.as_ref().is_some_and(|root| root.find(&original).is_some())
    }

    /// Whether something at `path` or below it was unreadable and is missing from the value that
    /// was read.
    pub fn damaged(&self, path: &KeyPath) -> bool {
        let original = self.original(path);
        self.removed.iter().any(|removed| removed.steps().starts_with(original.steps()))
    }

    /// The scalar at `path` as it is spelled in the file, without quotes: `6.10` stays `6.10`.
    pub fn spelling(&self, path: &KeyPath) -> Option<&str> {
        self.root.as_ref()?.find(&self.original(path))?.scalar()
    }

    /// Whether something was found wrong so far.
    pub fn has_errors(&self) -> bool {
        !self.found.borrow().is_empty()
    }

    /// Ends reading; all errors, by line and column.
    ///
    /// # Errors
    ///
    /// When there is any.
    pub fn finish(self) -> Result<(), Diagnostics> {
        if self.has_errors() { Err(self.into_diagnostics()) } else { Ok(()) }
    }

    /// The errors, by line and column; at least one, even if none was reported.
    pub fn into_diagnostics(self) -> Diagnostics {
        if !self.has_errors() {
            self.error(&KeyPath::root(), "this cannot be read", None);
        }
        Diagnostics::new(&self.file, &self.text, self.found.into_inner(), self.more.get())
    }

    fn value_mark(&self, original: &KeyPath) -> Mark {
        self.root.as_ref().map_or_else(Mark::start, |root| root.nearest(original).mark())
    }

    fn key_mark(&self, original: &KeyPath) -> Mark {
        let key = self.root.as_ref().and_then(|root| root.find_key(original));
        key.unwrap_or_else(|| self.value_mark(original))
    }

    fn push(&self, at: Mark, path: &KeyPath, message: String, hint: Option<String>) {
        let diagnostic = Diagnostic { at, path: path.clone(), message, hint };
        let mut found = self.found.borrow_mut();
        if found.contains(&diagnostic) {
            return;
        }
        if found.len() < MOST_ERRORS {
            found.push(diagnostic);
        } else {
            self.more.set(true);
        }
    }
}

/// Removes the node at `path`, or the innermost removable node around it, and returns its path.
fn take(value: &mut Value, path: &KeyPath) -> Option<KeyPath> {
    let (parent, last) = (path.parent()?, path.last()?);
    let taken = descend(value, &parent).is_some_and(|node| match (node, last) {
        (Value::Sequence(items), Step::Index(index)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        (Value::Mapping(map), Step::Key(key)) => {
            let found = map.keys().find(|candidate| spells(candidate, key)).cloned();
            found.is_some_and(|found| map.shift_remove(&found).is_some())
        }
        _ => false,
    });
    if taken { Some(path.clone()) } else { take(value, &parent) }
}

fn descend<'a>(value: &'a mut Value, path: &KeyPath) -> Option<&'a mut Value> {
    path.steps().iter().try_fold(value, |node, step| match (node, step) {
        (Value::Sequence(items), Step::Index(index)) => items.get_mut(*index),
        (Value::Mapping(map), Step::Key(key)) => {
            map.iter_mut().find(|(candidate, _)| spells(candidate, key)).map(|(_, value)| value)
        }
        _ => None,
    })
}

/// The column, from 0, of a tab in a line's indentation.
fn tab_in_indentation(line: &str) -> Option<usize> {
    let indentation = line.find(|c: char| !c.is_whitespace() && c != '-').unwrap_or(line.len());
    line[..indentation].chars().position(|c| c == '\t')
}

fn spells(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string == text,
        Value::Number(number) => number.to_string() == text,
        Value::Bool(truth) => truth.to_string() == text,
        _ => false,
    }
}
