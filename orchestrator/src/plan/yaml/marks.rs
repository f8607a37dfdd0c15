//! The places of keys and values in a YAML text.

use std::collections::HashMap;
use std::sync::Arc;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, TScalarStyle};

use super::path::{KeyPath, Step};

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

    /// The place at `line` and `column`, both from 1, or the nearest one that `text` has.
    pub fn at(text: &str, line: usize, column: usize) -> Self {
        let index = line.max(1) - 1;
        let Some((start, line_text)) = lines(text).nth(index) else {
            let (last, (start, line_text)) = lines(text).enumerate().last().unwrap_or((0, (0, "")));
            return Self {
                line: last + 1,
                column: line_text.chars().count() + 1,
                offset: start + line_text.len(),
                len: 0,
            };
        };
        let within = line_text.char_indices().nth(column.max(1) - 1).map_or(line_text.len(), |(byte, _)| byte);
        let column = line_text[..within].chars().count() + 1;
        Self { line: index + 1, column, offset: start + within, len: 0 }
    }

    /// The same place, `len` bytes long but not past the end of its line.
    fn long(self, text: &str, len: usize) -> Self {
        let rest = text.get(self.offset..).unwrap_or_default();
        let mut len = len.min(rest.lines().next().unwrap_or_default().len());
        while !rest.is_char_boundary(len) {
            len -= 1;
        }
        Self { len, ..self }
    }
}

/// Lines without their ends, each with the offset of its first byte.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |offset, line| {
        let start = *offset;
        *offset += line.len();
        Some((start, line.trim_end_matches(['\n', '\r'])))
    })
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    mark: Mark,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar {
        text: String,
        /// A literal block, written with `|`: it stands in the file line by line.
        block: bool,
    },
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    at: Mark,
    value: Arc<Node>,
}

impl Node {
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Where `length` characters from `column` of line `row` of this literal block stand in `file`, the text that was
    /// scanned; `row` and `column` from 0. None where this is no literal block, or has no such line.
    pub(super) fn within_block(&self, file: &str, row: usize, column: usize, length: usize) -> Option<Mark> {
        let Kind::Scalar { text, block: true } = &self.kind else { return None };
        let block: Vec<&str> = lines(text).map(|(_, line)| line).collect();
        let written: Vec<&str> = lines(file).map(|(_, line)| line).collect();
        // The parser's mark is where the block's first line that is not empty begins, or near it.
        let empty = block.iter().take_while(|line| line.is_empty()).count();
        let near = self.mark.line.saturating_sub(empty + 2)..=self.mark.line;
        let first = near.rev().find(|first| {
            let there = written.get(*first..).unwrap_or_default();
            there.len() >= block.len() && there.iter().zip(&block).all(|(written, line)| written.ends_with(line))
        })?;
        let line = block.get(row)?;
        let indent = written[first + row].strip_suffix(line)?.chars().count();
        let bytes = line.chars().skip(column).take(length).map(char::len_utf8).sum();
        Some(Mark::at(file, first + row + 1, indent + column + 1).long(file, bytes))
    }

    fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.kind, step) {
            (Kind::List(items), Step::Index(index)) => items.get(*index).map(AsRef::as_ref),
            (Kind::Map(_), Step::Key(key)) => self.entry(key).map(|entry| entry.value.as_ref()),
            _ => None,
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }

    /// The node at `path`.
    pub(super) fn find(&self, path: &KeyPath) -> Option<&Node> {
        path.steps().iter().try_fold(self, |node, step| node.child(step))
    }

    /// The node at `path`, or the innermost one on the way to it.
    pub(super) fn nearest(&self, path: &KeyPath) -> &Node {
        let mut node = self;
        for step in path.steps() {
            let Some(child) = node.child(step) else { break };
            node = child;
        }
        node
    }

    /// Where the key that `path` ends with stands.
    pub(super) fn find_key(&self, path: &KeyPath) -> Option<Mark> {
        match path.last()? {
            Step::Key(key) => Some(self.find(&path.parent()?)?.entry(key)?.at),
            Step::Index(_) => None,
        }
    }
}

/// A key that a map has twice.
#[derive(Debug)]
pub(super) struct Duplicate {
    pub key: String,
    pub path: KeyPath,
    pub first: Mark,
    pub again: Mark,
}

/// What a scan of a text gives.
#[derive(Debug)]
pub(super) struct Marks {
    /// None for an empty text.
    pub root: Option<Arc<Node>>,
    /// By order in the text.
    pub duplicates: Vec<Duplicate>,
}

impl Marks {
    /// Scans a text; on a syntax error, its place and what it is.
    pub(super) fn scan(text: &str) -> Result<Self, (Mark, String)> {
        let mut builder = Builder { text, open: Vec::new(), anchors: HashMap::new(), root: None };
        let mut parser = Parser::new_from_str(text);
        loop {
            let (event, marker) =
                parser.next_token().map_err(|error| (place(text, *error.marker()), error.info().to_owned()))?;
            if event == Event::StreamEnd {
                break;
            }
            builder.event(event, place(text, marker));
        }
        let root = builder.root;
        let mut duplicates = Vec::new();
        if let Some(root) = &root {
            find_duplicates(root, &KeyPath::root(), &mut duplicates);
        }
        Ok(Self { root, duplicates })
    }
}

fn place(text: &str, marker: Marker) -> Mark {
    Mark::at(text, marker.line(), marker.col() + 1)
}

fn find_duplicates(node: &Node, path: &KeyPath, found: &mut Vec<Duplicate>) {
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                find_duplicates(item, &path.index(index), found);
            }
        }
        Kind::Map(entries) => {
            let mut seen = HashMap::new();
            for entry in entries {
                let path = path.key(&entry.key);
                if let Some(first) = seen.insert(&entry.key, entry.at) {
                    found.push(Duplicate { key: entry.key.clone(), path, first, again: entry.at });
                } else {
                    find_duplicates(&entry.value, &path, found);
                }
            }
        }
    }
}

/// Builds the tree from the parser's events, without recursion.
struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
}

/// A list or a map whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    kind: Kind,
    /// In a map: the key whose value is to come.
    key: Option<(String, Mark)>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event, mark: Mark) {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                // The place of a value that is not there is its key's.
                let key = self.open.last().and_then(|open| open.key.as_ref()).map(|(_, at)| *at);
                let mark = key.filter(|_| text.is_empty() && style == TScalarStyle::Plain).unwrap_or(mark);
                let len = text.len().max(1);
                let node = Node {
                    mark: mark.long(self.text, len),
                    kind: Kind::Scalar { text, block: style == TScalarStyle::Literal },
                };
                self.complete(Arc::new(node), anchor);
            }
            Event::SequenceStart(anchor, _) => self.begin(mark, anchor, Kind::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(mark, anchor, Kind::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { mark, anchor, kind, .. }) = self.open.pop() {
                    let braced = self.text[mark.offset..].starts_with('{');
                    let mark = match &kind {
                        // The parser gives a map without braces the place of its first colon.
                        Kind::Map(entries) if !braced => entries.first().map_or(mark, |entry| entry.at),
                        _ => mark,
                    };
                    self.complete(Arc::new(Node { mark, kind }), anchor);
                }
            }
            Event::Alias(anchor) => {
                if let Some(node) = self.anchors.get(&anchor).cloned() {
                    self.complete(node, 0);
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart | Event::DocumentEnd => {}
        }
    }

    fn begin(&mut self, mark: Mark, anchor: usize, kind: Kind) {
        self.open.push(Open { mark: mark.long(self.text, 1), anchor, kind, key: None });
    }

    fn complete(&mut self, node: Arc<Node>, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match (&mut open.kind, open.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(entries), Some((key, at))) => entries.push(Entry { key, at, value: node }),
            (Kind::Map(_), None) => open.key = Some((node.scalar().unwrap_or("?").to_owned(), node.mark)),
            (Kind::Scalar { .. }, _) => {}
        }
    }
}
