//! The files of an image in memory, each path once, every parent present.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Error;

/// Longest name or link target the kernel unpacks, its NUL included (`PATH_MAX`; init/initramfs.c skips longer ones
/// without a word).
const PATH_MAX: usize = 4096;

/// Name of the entry that ends a newc archive.
const TRAILER: &str = "TRAILER!!!";

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory and its permissions.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Its bytes, shared between the images and programs that need them.
        content: Arc<Vec<u8>>,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: String,
    },
    /// A character device.
    CharDevice {
        /// Permission bits.
        mode: u32,
        /// Major number (Documentation/admin-guide/devices.txt).
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Files by path, without the leading slash. The order of paths puts every directory before what is in it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    /// Directories that nobody asked for by name: whoever does decides on their permissions.
    implied: BTreeSet<String>,
}

impl Node {
    /// A file from text or bytes.
    pub(super) fn file(mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self::File { mode, content: Arc::new(content.into()) }
    }
}

impl Tree {
    /// Every path and what is there, sorted.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// What stands at `path`.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path.trim_start_matches('/'))
    }

    /// Puts `node` at `path`, and plain directories (0755) above it. The same thing twice is fine, another is refused.
    pub(super) fn insert(&mut self, path: &str, node: Node) -> Result<(), Error> {
        let path = checked(path, &node)?;
        self.make_parents(&path)?;
        if matches!(node, Node::Directory { .. }) && self.implied.remove(&path) {
            self.nodes.remove(&path);
        }
        match self.nodes.entry(path) {
            Entry::Vacant(place) => {
                place.insert(node);
            }
            Entry::Occupied(place) if *place.get() == node => {}
            Entry::Occupied(place) => return Err(Error::Conflict { path: place.key().clone() }),
        }
        Ok(())
    }

    /// Puts `node` at `path` unless something is there already.
    pub(super) fn fill(&mut self, path: &str, node: Node) -> Result<(), Error> {
        let taken = self.get(path).is_some() && !self.implied.contains(path.trim_start_matches('/'));
        if taken { Ok(()) } else { self.insert(path, node) }
    }

    fn make_parents(&mut self, path: &str) -> Result<(), Error> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.nodes.get(parent) {
                Some(Node::Directory { .. }) => {}
                Some(_) => return Err(Error::NotADirectory { path: path.to_owned(), parent: parent.to_owned() }),
                None => {
                    self.nodes.insert(parent.to_owned(), Node::Directory { mode: 0o755 });
                    self.implied.insert(parent.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// The path as an archive names it, once it is sure that the kernel will unpack just that.
fn checked(path: &str, node: &Node) -> Result<String, Error> {
    let refuse = |reason| Error::Name { name: path.to_owned(), reason };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let name = parts.join("/");
    if name.is_empty() {
        return Err(refuse("it names the root itself"));
    }
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(refuse("it has `.` or `..` in it"));
    }
    if name.contains('\0') {
        return Err(refuse("it has a NUL byte in it"));
    }
    if name == TRAILER {
        return Err(refuse("this name ends an archive"));
    }
    if name.len() >= PATH_MAX {
        return Err(refuse("it is longer than 4,095 bytes, which the kernel does not unpack"));
    }
    match node {
        Node::File { content, .. } if u32::try_from(content.len()).is_err() => {
            Err(refuse("a newc archive holds files under 4 GiB only"))
        }
        Node::Symlink { target } if target.is_empty() || target.len() >= PATH_MAX || target.contains('\0') => {
            Err(refuse("its link target must have 1 to 4,095 bytes and no NUL byte"))
        }
        _ => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_slashes_do_not_matter() {
        let mut tree = Tree::default();
        tree.insert("/usr//bin/x", Node::file(0o755, "x")).expect("fits");
        tree.insert("usr/bin-old", Node::file(0o644, "")).expect("fits");
        let paths: Vec<&str> = tree.nodes().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin-old", "usr/bin/x"]);
    }

    #[test]
    fn one_path_holds_one_thing() {
        let mut tree = Tree::default();
        tree.insert("/a", Node::file(0o644, "1")).expect("fits");
        tree.insert("/a", Node::file(0o644, "1")).expect("the same again");
        assert!(matches!(tree.insert("/a", Node::file(0o644, "2")), Err(Error::Conflict { .. })));
        assert!(matches!(tree.insert("/a", Node::file(0o600, "1")), Err(Error::Conflict { .. })));
        assert!(matches!(tree.insert("/a/b", Node::file(0o600, "1")), Err(Error::NotADirectory { .. })));
        tree.fill("/a", Node::file(0o644, "2")).expect("keeps what is there");
        assert_eq!(tree.get("/a"), Some(&Node::file(0o644, "1")));
    }

    #[test]
    fn a_directory_made_on_the_way_takes_the_mode_it_is_given_later() {
        let mut tree = Tree::default();
        tree.insert("/root/.ssh/x", Node::file(0o600, "")).expect("fits");
        tree.fill("/root", Node::Directory { mode: 0o700 }).expect("fits");
        assert_eq!(tree.get("/root"), Some(&Node::Directory { mode: 0o700 }));
        assert!(matches!(tree.insert("/root", Node::Directory { mode: 0o755 }), Err(Error::Conflict { .. })));
        assert!(matches!(tree.insert("/root/.ssh", Node::file(0o600, "")), Err(Error::Conflict { .. })));
    }

    #[test]
    fn names_that_would_unpack_elsewhere_are_refused() {
        for name in ["", "/", "/../etc/passwd", "a/../b", "./a", "a\0b", "TRAILER!!!", &"x".repeat(4096)] {
            let refused = Tree::default().insert(name, Node::file(0o644, ""));
            assert!(matches!(refused, Err(Error::Name { .. })), "{name:?}");
        }
        let link = Tree::default().insert("/l", Node::Symlink { target: String::new() });
        assert!(matches!(link, Err(Error::Name { .. })));
    }
}
