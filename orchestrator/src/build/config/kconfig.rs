//! Reads a tree's Kconfig files as far as needed to explain why an option has another value.

use std::path::{Path, PathBuf};

/// A dependency of an option and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Expression as it is written.
    pub expr: String,
    /// `lib/Kconfig:12`.
    pub at: String,
}

/// What an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `y` or `n`.
    Bool,
    /// `y`, `m` or `n`.
    Tristate,
    /// A text in double quotes.
    Text,
    /// A whole number.
    Int,
    /// A hexadecimal number.
    Hex,
}

impl Kind {
    /// The type that a line such as `bool "prompt"` or `def_bool y` gives an option.
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "bool" | "def_bool" => Self::Bool,
            "tristate" | "def_tristate" => Self::Tristate,
            "string" => Self::Text,
            "int" => Self::Int,
            "hex" => Self::Hex,
            _ => return None,
        })
    }
}

/// `range LOW HIGH if CONDITION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Numbers or names of options.
    pub bounds: [String; 2],
    /// When it holds; always unless given.
    pub condition: Option<String>,
    /// `lib/Kconfig:12`.
    pub at: String,
}

/// Options of which one is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// `lib/Kconfig:12`.
    pub at: String,
    /// The options, in order.
    pub members: Vec<String>,
}

/// One definition of an option. If there are several, meeting one is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// `lib/Kconfig:10`.
    pub at: String,
    /// `depends on`, the enclosing `if`s and menus, and the condition of the prompt.
    pub needs: Vec<Need>,
    /// A user can set it; otherwise only another option's `select` or its own default can.
    pub prompt: bool,
    /// Its type, where this definition says it.
    pub kind: Option<Kind>,
    /// What it may be, for a number.
    pub ranges: Vec<Range>,
}

/// What the tree says about one option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Every definition, in the order Kconfig reads them.
    pub definitions: Vec<Definition>,
    /// Options that select it.
    pub selected_by: Vec<String>,
    /// The choice that it stands in.
    pub choice: Option<Choice>,
}

/// Looks an option up in the tree, beginning at its top Kconfig file and following `source`.
pub fn find(tree: &Path, arch: &str, name: &str) -> Known {
    let mut reader = Reader { tree, arch, name, found: Known::default(), visited: Vec::new(), choices: Vec::new() };
    reader.file("Kconfig", &[]);
    reader.found
}

struct Reader<'a> {
    tree: &'a Path,
    arch: &'a str,
    name: &'a str,
    found: Known,
    visited: Vec<PathBuf>,
    /// Choices that are still open.
    choices: Vec<Choice>,
}

/// What a `depends on` line belongs to.
enum Block {
    /// `config` or `menuconfig`, with its name; the definition is kept when the name is the wanted
    /// one.
    Option(String, Definition),
    /// `menu` or `choice`: what it needs holds for all inside.
    Group,
    /// `comment` and the like.
    Other,
}

impl Reader<'_> {
    fn file(&mut self, relative: &str, context: &[Need]) {
        let path = self.tree.join(relative);
        if self.visited.contains(&path) {
            return;
        }
        let Ok(bytes) = std::fs::read(&path) else { return };
        self.visited.push(path);
        let text = String::from_utf8_lossy(&bytes);
        // The context that holds now, and how long it was where each open `if`, `menu` or `choice`
        // began.
        let mut needs = context.to_vec();
        let mut opened: Vec<(&str, usize)> = Vec::new();
        let mut block = Block::Other;
        let lines = logical_lines(&text);
        for (number, line) in &lines {
            let at = format!("{relative}:{number}");
            let trimmed = line.trim();
            let (word, rest) =
                trimmed.split_once([' ', '\t']).map_or((trimmed, ""), |(word, rest)| (word, rest.trim()));
            match word {
                "config" | "menuconfig" => {
                    self.close(std::mem::replace(&mut block, Block::Other));
                    if let Some(choice) = self.choices.last_mut() {
                        choice.members.push(rest.to_owned());
                    }
                    block = Block::Option(
                        rest.to_owned(),
                        Definition { at, needs: needs.clone(), prompt: false, kind: None, ranges: Vec::new() },
                    );
                }
                "if" | "menu" | "choice" => {
                    self.close(std::mem::replace(&mut block, Block::Group));
                    opened.push((word, needs.len()));
                    if word == "choice" {
                        self.choices.push(Choice { at: at.clone(), members: Vec::new() });
                    }
                    if word == "if" {
                        needs.push(Need { expr: rest.to_owned(), at });
                        block = Block::Other;
                    }
                }
                "endif" | "endmenu" | "endchoice" => {
                    self.close(std::mem::replace(&mut block, Block::Other));
                    let (begun, length) = opened.pop().unwrap_or_default();
                    needs.truncate(length);
                    if begun == "choice"
                        && let Some(choice) = self.choices.pop()
                        && choice.members.iter().any(|member| member == self.name)
                    {
                        self.found.choice = Some(choice);
                    }
                }
                "comment" | "mainmenu" => self.close(std::mem::replace(&mut block, Block::Other)),
                "source" | "rsource" | "osource" | "orsource" => {
                    self.close(std::mem::replace(&mut block, Block::Other));
                    let name = rest.trim_matches('"').replace("$(SRCARCH)", self.arch).replace("$(ARCH)", self.arch);
                    let folder = Path::new(relative).parent().unwrap_or(Path::new(""));
                    let target = if word.ends_with("rsource") { folder.join(name) } else { PathBuf::from(name) };
                    self.file(&target.to_string_lossy(), &needs);
                }
                "depends" => {
                    let need = Need { expr: rest.strip_prefix("on").unwrap_or(rest).trim().to_owned(), at };
                    match &mut block {
                        Block::Option(_, definition) => definition.needs.push(need),
                        Block::Group => needs.push(need),
                        Block::Other => {}
                    }
                }
                "range" => {
                    let (bounds, condition) = match rest.split_once(" if ") {
                        Some((bounds, condition)) => (bounds, Some(condition.trim().to_owned())),
                        None => (rest, None),
                    };
                    let bounds: Vec<&str> = bounds.split_whitespace().collect();
                    if let (Block::Option(_, definition), [low, high]) = (&mut block, bounds.as_slice()) {
                        let bounds = [(*low).to_owned(), (*high).to_owned()];
                        definition.ranges.push(Range { bounds, condition, at });
                    }
                }
                "bool" | "def_bool" | "tristate" | "def_tristate" | "string" | "hex" | "int" | "prompt" => {
                    if let Block::Option(_, definition) = &mut block {
                        definition.kind = definition.kind.or_else(|| Kind::of(word));
                        if word.starts_with("def_") || !rest.starts_with(['"', '\'']) {
                            continue;
                        }
                        definition.prompt = true;
                        let after = rest[1..].split_once(&rest[..1]).map_or("", |(_, after)| after.trim());
                        if let Some(condition) = after.strip_prefix("if ") {
                            definition.needs.push(Need { expr: condition.to_owned(), at });
                        }
                    }
                }
                "select" => {
                    let target = rest.split_whitespace().next().unwrap_or_default();
                    if let Block::Option(by, _) = &block
                        && target == self.name
                        && !self.found.selected_by.contains(by)
                    {
                        self.found.selected_by.push(by.clone());
                    }
                }
                _ => {}
            }
        }
        self.close(block);
    }

    fn close(&mut self, block: Block) {
        if let Block::Option(name, definition) = block
            && name == self.name
        {
            self.found.definitions.push(definition);
        }
    }
}

/// Lines with continuations joined and help texts left out, each with its number from 1.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    // Indentation of the help text being skipped, once its first line is known.
    let mut help: Option<Option<usize>> = None;
    let mut continued: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(indentation) = help {
            let own = width(line);
            match (line.trim().is_empty(), indentation) {
                (true, _) => continue,
                (false, None) if own > 0 => {
                    help = Some(Some(own));
                    continue;
                }
                (false, Some(least)) if own >= least => continue,
                _ => help = None,
            }
        }
        let (number, mut whole) = continued.take().unwrap_or((index + 1, String::new()));
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            whole.push(' ');
            continued = Some((number, whole));
            continue;
        }
        whole.push_str(line);
        if matches!(whole.trim(), "help" | "---help---") {
            help = Some(None);
        } else if !whole.trim_start().starts_with('#') {
            lines.push((number, whole));
        }
    }
    lines
}

/// Width of the white space a line begins with; Kconfig's tabs are 8 wide.
fn width(line: &str) -> usize {
    line.chars()
        .take_while(|c| c.is_whitespace())
        .fold(0, |width, c| if c == '\t' { (width / 8 + 1) * 8 } else { width + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_come_with_everything_around_them() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
            std::fs::write(path, text).expect("writes");
        };
        write("Kconfig", "mainmenu \"x\"\nsource \"arch/$(SRCARCH)/Kconfig\"\nif NET\nsource \"net/Kconfig\"\nendif\n");
        write("arch/x86/Kconfig", "config X86\n\tdef_bool y\n\tselect INNER if 64BIT\n");
        write("arch/arm/Kconfig", "config INNER\n\tbool \"not this one\"\n");
        write(
            "net/Kconfig",
            "menu \"m\"\n\tdepends on INET\n\nconfig INNER\n\tbool \"Inner\" if EXPERT\n\tdepends on A && \\\n\t\tB\n\thelp\n\t  config INNER is nice.\n\n\t  depends on nothing\nendmenu\n\nconfig AFTER\n\ttristate\n",
        );
        let inner = find(dir.path(), "x86", "INNER");
        assert_eq!(inner.selected_by, ["X86"]);
        let [only] = inner.definitions.as_slice() else { panic!("one definition: {inner:?}") };
        assert!(only.prompt);
        assert_eq!(only.at, "net/Kconfig:4");
        let needs: Vec<_> = only
            .needs
            .iter()
            .map(|need| (need.expr.split_whitespace().collect::<Vec<_>>().join(" "), need.at.as_str()))
            .collect();
        let expected =
            [("NET", "Kconfig:3"), ("INET", "net/Kconfig:2"), ("EXPERT", "net/Kconfig:5"), ("A && B", "net/Kconfig:6")];
        assert_eq!(needs, expected.map(|(expr, at)| (expr.to_owned(), at)));

        let after = find(dir.path(), "x86", "AFTER");
        assert!(!after.definitions[0].prompt);
        assert_eq!(after.definitions[0].needs.len(), 1, "the menu is closed");
        assert!(find(dir.path(), "x86", "NOWHERE").definitions.is_empty());
    }
}
