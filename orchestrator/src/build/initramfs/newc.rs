//! Writing a tree as a newc archive, the format the kernel unpacks as its first root
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::Cursor;

use cpio::newc::{Builder, ModeFileType};

use super::Error;
use super::tree::{Node, Tree};

/// The archive's bytes. They depend on the tree alone: entries in order of path with inode numbers counted up, no
/// times, everything owned by root. The length is a multiple of four, so archives can stand one behind the other.
pub(super) fn write(tree: &Tree) -> Result<Vec<u8>, Error> {
    let entries = tree.nodes().map(|(path, node)| {
        let (content, file_type, mode, (major, minor)): (&[u8], _, _, _) = match node {
            Node::Directory { mode } => (&[], ModeFileType::Directory, *mode, (0, 0)),
            Node::File { mode, content } => (content.as_slice(), ModeFileType::Regular, *mode, (0, 0)),
            Node::Symlink { target } => (target.as_bytes(), ModeFileType::Symlink, 0o777, (0, 0)),
            Node::CharDevice { mode, major, minor } => (&[], ModeFileType::Char, *mode, (*major, *minor)),
        };
        let entry = Builder::new(path).mode(mode).set_mode_file_type(file_type);
        (entry.rdev_major(major).rdev_minor(minor), Cursor::new(content))
    });
    cpio::write_cpio(entries, Vec::new()).map_err(Error::Archive)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn nodes() -> impl Strategy<Value = BTreeMap<String, Node>> {
        let mode = prop_oneof![Just(0o755_u32), Just(0o644), Just(0o600), Just(0o4755), Just(0o1777)];
        let node = prop_oneof![
            mode.clone().prop_map(|mode| Node::Directory { mode: mode | 0o700 }),
            (mode.clone(), prop::collection::vec(any::<u8>(), 0..70))
                .prop_map(|(mode, content)| Node::file(mode | 0o400, content)),
            "[a-z./]{1,9}".prop_map(|target| Node::Symlink { target }),
            (mode, 0..300_u32, 0..300_u32).prop_map(|(mode, major, minor)| Node::CharDevice { mode, major, minor }),
        ];
        // Spaces, dashes and letters outside ASCII are all good names.
        prop::collection::btree_map("[a-c \u{e9}-]{1,3}(/[a-c]{1,3}){0,2}", node, 0..12)
    }

    /// Name, mode with type, device numbers, content.
    type ReadBack = (String, u32, (u32, u32), Vec<u8>);

    /// Reads an archive back with the crate's reader.
    fn read(mut bytes: &[u8]) -> Vec<ReadBack> {
        let mut entries = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(bytes).expect("a header");
            if reader.entry().is_trailer() {
                return entries;
            }
            let mut content = Vec::new();
            reader.read_to_end(&mut content).expect("content");
            let entry = reader.entry();
            let device = (entry.rdev_major(), entry.rdev_minor());
            assert_eq!((entry.uid(), entry.gid(), entry.mtime(), entry.nlink()), (0, 0, 0, 1));
            entries.push((entry.name().to_owned(), entry.mode(), device, content));
            bytes = reader.finish().expect("padding");
        }
    }

    /// Has the real cpio unpack the archive, but for its device nodes, which take root to make.
    fn unpack(archive: &[u8], into: &Path, devices: &[&str]) {
        let mut skip = Command::new("cpio");
        skip.args(["--extract", "--quiet", "--make-directories", "--nonmatching", "--"]);
        let child = skip.args(devices).current_dir(into).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("cpio is installed");
        child.stdin.take().expect("piped").write_all(archive).expect("cpio reads all");
        let done = child.wait_with_output().expect("cpio ends");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_tree_comes_back_whole(nodes in nodes()) {
            let mut tree = Tree::default();
            for (path, node) in nodes {
                // What collides with a parent that is no directory is refused, which is tested elsewhere.
                let _ = tree.insert(&path, node);
            }
            let archive = write(&tree).expect("an archive");
            prop_assert_eq!(archive.len() % 4, 0);
            let entries = read(&archive);
            prop_assert_eq!(entries.len(), tree.nodes().count());
            for ((path, node), (name, mode, device, content)) in tree.nodes().zip(&entries) {
                prop_assert_eq!(path, name);
                let expected = match node {
                    Node::Directory { mode } => (0o040_000 | mode, (0, 0), vec![]),
                    Node::File { mode, content } => (0o100_000 | mode, (0, 0), content.to_vec()),
                    Node::Symlink { target } => (0o120_777, (0, 0), target.clone().into_bytes()),
                    Node::CharDevice { mode, major, minor } => (0o020_000 | mode, (*major, *minor), vec![]),
                };
                prop_assert_eq!((*mode, *device, content.clone()), expected);
            }

            let dir = tempfile::tempdir().expect("a scratch folder");
            let devices: Vec<&str> = tree.nodes().filter_map(|(path, node)| {
                matches!(node, Node::CharDevice { .. }).then_some(path)
            }).collect();
            unpack(&archive, dir.path(), &devices);
            for (path, node) in tree.nodes() {
                let place = dir.path().join(path);
                match node {
                    Node::Directory { mode } => {
                        prop_assert!(place.is_dir(), "{}", path);
                        let bits = place.metadata().expect("is there").permissions().mode() & 0o1777;
                        prop_assert_eq!(bits, mode & 0o1777);
                    }
                    Node::File { content, .. } => {
                        prop_assert_eq!(&std::fs::read(&place).expect("is there"), content.as_ref());
                    }
                    Node::Symlink { target } => {
                        prop_assert_eq!(std::fs::read_link(&place).expect("is there"), Path::new(target));
                    }
                    Node::CharDevice { .. } => {}
                }
            }
        }
    }

    #[test]
    fn the_real_cpio_sees_a_console() {
        let mut tree = Tree::default();
        tree.insert("/dev/console", Node::CharDevice { mode: 0o600, major: 5, minor: 1 }).expect("fits");
        let dir = tempfile::tempdir().expect("a scratch folder");
        let archive = dir.path().join("a.cpio");
        std::fs::write(&archive, write(&tree).expect("an archive")).expect("writes");
        let listing = Command::new("cpio").args(["-tv", "--quiet", "--numeric-uid-gid", "-F"]).arg(&archive).output();
        let listing = String::from_utf8(listing.expect("cpio is installed").stdout).expect("text");
        let console: Vec<&str> = listing.lines().nth(1).expect("two entries").split_whitespace().collect();
        assert_eq!(console[0], "crw-------", "{listing}");
        assert_eq!(&console[2..6], ["0", "0", "5,", "1"], "{listing}");
    }
}
