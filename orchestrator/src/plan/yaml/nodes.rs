//! The places of keys and values in a YAML text.

use std::collections::HashMap;
use std::sync::Arc;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, TScalarStyle};

use super::places::{KeyPath, Mark, Places, Step, lines};

/// The deepest nesting of maps and lists. Real files have about ten levels, and the scanners' work
/// grows with the square of the depth.
const NESTING_MAX: usize = 100;

/// The most values in a file with its aliases expanded.
const VALUES_MAX: usize = 1_000_000;

/// The merge key: adds the entries of another map (<https://yaml.org/type/merge.html>).
pub(super) const MERGE: &str = "<<";

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    mark: Mark,
    kind: Kind,
    /// Number of values in it, itself included, with aliases expanded.
    values: usize,
}

#[derive(Debug)]
enum Kind {
    Scalar {
        text: String,
        /// A literal block, written with `|`: it stands in the file line by line.
        block: bool,
    },
    List(Vec<Arc<Node>>),
    Map(HashMap<String, Entry>),
}

#[derive(Debug, Clone)]
struct Entry {
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

    /// Where `length` characters from `column` of line `row` of this literal block stand in `file`,
    /// the text that was scanned; `row` and `column` from 0. None where this is no literal block,
    /// or has no such line.
    pub(super) fn within_block(&self, file: &str, row: usize, column: usize, length: usize) -> Option<Mark> {
        let Kind::Scalar { text, block: true } = &self.kind else { return None };
        let block: Vec<&str> = lines(text).collect();
        let written: Vec<&str> = lines(file).collect();
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
        Some(Places::new(file).at(file, first + row + 1, indent + column + 1).long(file, bytes))
    }

    fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.kind, step) {
            (Kind::List(items), Step::Index(index)) => items.get(*index).map(AsRef::as_ref),
            (Kind::Map(entries), Step::Key(key)) => entries.get(key).map(|entry| entry.value.as_ref()),
            _ => None,
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
        match (path.last()?, &self.find(&path.parent()?)?.kind) {
            (Step::Key(key), Kind::Map(entries)) => entries.get(key).map(|entry| entry.at),
            _ => None,
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
pub(super) struct Scan {
    /// None for an empty text.
    pub root: Option<Arc<Node>>,
    /// By order in the text.
    pub duplicates: Vec<Duplicate>,
}

/// Why a scan failed.
#[derive(Debug)]
pub(super) struct Refusal {
    pub at: Mark,
    pub message: String,
    pub hint: Option<&'static str>,
    /// Whether it is a syntax error, which the other parser may explain better.
    pub syntax: bool,
}

impl Scan {
    /// Scans a text.
    pub(super) fn of(text: &str, places: &Places) -> Result<Self, Refusal> {
        let refuse = |at, message, hint| Refusal { at, message, hint, syntax: false };
        if let Some(byte) = too_deep(text) {
            let line = text[..byte].matches('\n').count() + 1;
            let column = text[..byte].chars().rev().take_while(|c| *c != '\n').count() + 1;
            return Err(refuse(places.at(text, line, column).long(text, 1), nested(), None));
        }
        let place = |marker: Marker| places.at(text, marker.line(), marker.col() + 1);
        let mut builder = Builder {
            text,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            duplicates: Vec::new(),
            complaint: None,
        };
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        loop {
            let (event, marker) = parser.next_token().map_err(|error| Refusal {
                at: place(*error.marker()),
                message: error.info().to_owned(),
                hint: None,
                syntax: true,
            })?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart => documents += 1,
                event => builder.event(event, place(marker)),
            }
            if documents > 1 {
                let hint = "keep one document in a file; `---` begins the next one";
                return Err(refuse(
                    place(marker).long(text, 3),
                    "a second document begins here".to_owned(),
                    Some(hint),
                ));
            }
            if builder.open.len() > NESTING_MAX {
                return Err(refuse(place(marker).long(text, 1), nested(), None));
            }
            if let Some((at, message)) = builder.complaint.take() {
                return Err(refuse(at, message, None));
            }
        }
        Ok(Self { root: builder.root, duplicates: builder.duplicates })
    }
}

fn nested() -> String {
    format!("maps and lists stand more than {NESTING_MAX} deep within each other")
}

/// The byte of the bracket that nests too deep. Brackets are counted twice, with and without those
/// in double quotes, because quoted text opens and closes nothing.
fn too_deep(text: &str) -> Option<usize> {
    let (mut all, mut bare, mut quoted) = (0_usize, 0_usize, false);
    for (byte, character) in text.bytes().enumerate() {
        match character {
            b'"' => quoted = !quoted,
            b'\n' => quoted = false,
            b'[' | b'{' => {
                all += 1;
                bare += usize::from(!quoted);
            }
            b']' | b'}' => {
                all = all.saturating_sub(1);
                bare = bare.saturating_sub(usize::from(!quoted));
            }
            _ => {}
        }
        if all.max(bare) > NESTING_MAX {
            return Some(byte);
        }
    }
    None
}

/// Builds the tree from the parser's events, without recursion.
struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
    duplicates: Vec<Duplicate>,
    /// Why reading stops here.
    complaint: Option<(Mark, String)>,
}

/// A list or a map that is still open.
struct Open {
    mark: Mark,
    anchor: usize,
    kind: Kind,
    values: usize,
    /// In a map: the key that waits for its value.
    key: Option<(String, Mark)>,
    /// In a map: the place of its first key.
    first: Option<Mark>,
    /// In a map: what its merge key names.
    merged: Vec<Arc<Node>>,
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
                    values: 1,
                };
                self.complete(Arc::new(node), mark, anchor);
            }
            Event::SequenceStart(anchor, _) => self.begin(mark, anchor, Kind::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(mark, anchor, Kind::Map(HashMap::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let anchor = open.anchor;
                    let node = self.close(open);
                    let mark = node.mark;
                    self.complete(Arc::new(node), mark, anchor);
                }
            }
            Event::Alias(anchor) => {
                if let Some(node) = self.anchors.get(&anchor).cloned() {
                    self.complete(node, mark, 0);
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart | Event::DocumentEnd => {}
        }
    }

    fn begin(&mut self, mark: Mark, anchor: usize, kind: Kind) {
        let mark = mark.long(self.text, 1);
        self.open.push(Open { mark, anchor, kind, values: 1, key: None, first: None, merged: Vec::new() });
    }

    /// A list or a map that is complete, with what its merge key names.
    fn close(&mut self, open: Open) -> Node {
        let Open { mark, mut kind, mut values, first, merged, .. } = open;
        let braced = self.text[mark.offset..].starts_with('{');
        let mark = match &kind {
            // The parser gives a map without braces the place of its first colon.
            Kind::Map(_) if !braced => first.unwrap_or(mark),
            _ => mark,
        };
        for node in merged {
            let maps = if let Kind::List(items) = &node.kind { items.as_slice() } else { std::slice::from_ref(&node) };
            for map in maps {
                let (Kind::Map(entries), Kind::Map(others)) = (&mut kind, &map.kind) else { continue };
                values = values.saturating_add(map.values);
                if values > VALUES_MAX {
                    break;
                }
                for (key, entry) in others {
                    entries.entry(key.clone()).or_insert_with(|| entry.clone());
                }
            }
        }
        self.limit(values, mark);
        Node { mark, kind, values }
    }

    fn limit(&mut self, values: usize, at: Mark) {
        if values > VALUES_MAX {
            let message = format!("aliases make more than {VALUES_MAX} values of this file");
            self.complaint.get_or_insert((at, message));
        }
    }

    /// Adds a node to the open list or map; `mark` is its place, or the place of the alias.
    fn complete(&mut self, node: Arc<Node>, mark: Mark, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        open.values = open.values.saturating_add(node.values);
        let values = open.values;
        match (&mut open.kind, open.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(_), Some((key, _))) if key == MERGE => open.merged.push(node),
            (Kind::Map(entries), Some((key, at))) => {
                let first = entries.get(&key).map(|entry| entry.at);
                match first {
                    Some(first) => self.duplicate(key, first, at),
                    None => drop(entries.insert(key, Entry { at, value: node })),
                }
            }
            (Kind::Map(_), None) => {
                open.first.get_or_insert(node.mark);
                open.key = Some((node.scalar().unwrap_or("?").to_owned(), node.mark));
            }
            (Kind::Scalar { .. }, _) => {}
        }
        self.limit(values, mark);
    }

    /// Notes that the innermost open map has `key` once more.
    fn duplicate(&mut self, key: String, first: Mark, again: Mark) {
        let mut path = KeyPath::root();
        for (depth, open) in self.open.iter().enumerate() {
            if depth + 1 == self.open.len() {
                path = path.key(&key);
            } else if let Kind::List(items) = &open.kind {
                path = path.index(items.len());
            } else if let Some((key, _)) = &open.key {
                path = path.key(key);
            }
        }
        self.duplicates.push(Duplicate { key, path, first, again });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Refusal {
        // What is read with its aliases written out would fill the memory if it were printed.
        let Err(refusal) = Scan::of(text, &Places::new(text)) else { panic!("this is refused") };
        refusal
    }

    #[test]
    fn what_stands_too_deep_is_refused_before_it_is_parsed() {
        let deep = 100_000;
        for text in [
            "[".repeat(deep),
            "{a: ".repeat(deep),
            "a: [\"]\",".repeat(deep),
            "- ".repeat(deep) + "a",
            "? ".repeat(deep) + "a",
            format!("a: {}{}", "[".repeat(deep), "]".repeat(deep)),
        ] {
            let refusal = refused(&text);
            assert!(refusal.message.contains("more than 100 deep"), "{}: {}", &text[..20], refusal.message);
            assert_eq!(refusal.at.line, 1);
            assert!(refusal.at.column < 1_000, "it is told where it becomes too deep: {:?}", refusal.at);
        }
        let text = format!("a: {}{}", "[".repeat(99), "]".repeat(99));
        assert!(Scan::of(&text, &Places::new(&text)).is_ok());
    }

    #[test]
    fn aliases_of_aliases_are_counted_and_not_written_out() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let item = format!("*a{}", level - 1);
            let items = vec![item; 10].join(", ");
            bomb.push_str(&["a", &level.to_string(), ": &a", &level.to_string(), " [", &items, "]\n"].concat());
        }
        assert!(refused(&bomb).message.contains("1000000 values"));
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(20_000), "*a, ".repeat(20_000));
        assert!(refused(&wide).message.contains("1000000 values"));
        let keys = (0..2_000).map(|key| format!("k{key}: 1")).collect::<Vec<_>>().join(", ");
        let merged = format!("a: &a {{{keys}}}\nb: [{}]\n", "{<<: *a}, ".repeat(2_000));
        assert!(refused(&merged).message.contains("1000000 values"));
    }
}
