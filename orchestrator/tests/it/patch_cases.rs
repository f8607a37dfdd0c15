//! Patches as people bring them, on a small tree. Each folder of `tests/data/patches` holds one, with its source and what is
//! right in `expected.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;
use twinboot::build::patch::{Error, apply, load};
use twinboot::plan::model::Patch;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A copy of the small tree.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for file in ["mm/memory.c", "mm/swapfile.c", "kernel/fork.c"] {
            let to = dir.path().join(file);
            fs::create_dir_all(to.parent().expect("has one")).expect("makes");
            fs::copy(data("tiny-tree").join(file), to).expect("copies");
        }
        Self(dir)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).expect("reads")
    }

    async fn apply(&self, case: &str, reverse: bool) -> Result<Vec<String>, Error> {
        let loaded = load(&Patch { path: data("patches").join(case), reverse })?;
        apply(&[loaded], self.0.path(), &CancellationToken::new()).await
    }

    async fn refuses(&self, case: &str) -> String {
        self.apply(case, false).await.expect_err(case).to_string()
    }
}

#[tokio::test]
async fn encoded_mails_attachments_and_cut_ends_apply() {
    for case in [
        "qp/fix.patch",
        "qp-only-in-added-line/fix.patch",
        "base64/fix.patch",
        "attach-base64/fix.patch",
        "patch-cut-newline/fix.patch",
    ] {
        let tree = Tree::new();
        let notes = tree.apply(case, false).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(notes.is_empty(), "{case} applies as it stands: {notes:?}");
        for file in ["mm/memory.c", "kernel/fork.c"] {
            assert!(!tree.text(file).contains("=3D"), "{case}");
        }
        let changed = ["mm/memory.c", "mm/swapfile.c", "kernel/fork.c"]
            .iter()
            .any(|file| tree.text(file) != fs::read_to_string(data("tiny-tree").join(file)).expect("reads"));
        assert!(changed, "{case}");
    }
}

#[tokio::test]
async fn a_quoted_diff_is_left_alone() {
    for case in ["indented-diff-in-message/fix.patch", "indented-diff-same-file/fix.patch"] {
        let tree = Tree::new();
        tree.apply(case, false).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(!tree.text("mm/memory.c").contains("3333"), "{case}");
        assert!(tree.text("mm/memory.c").contains("x + 77;"), "{case}");
    }
}

#[tokio::test]
async fn an_unusual_name_is_the_files_name() {
    let tree = Tree::new();
    let loaded = load(&Patch { path: data("patches/nonascii-name/fix.patch"), reverse: false }).expect("reads");
    assert_eq!(loaded.files, ["mm/na\u{ef}ve.c"]);
    tree.apply("nonascii-name/fix.patch", false).await.expect("applies");
    assert_eq!(tree.text("mm/na\u{ef}ve.c"), "int a;\n");
}

#[tokio::test]
async fn a_series_in_a_mailbox_goes_in_and_comes_out() {
    let tree = Tree::new();
    let before = [tree.text("mm/memory.c"), tree.text("mm/swapfile.c")];
    tree.apply("series-mbox-reversed/fix.mbx", false).await.expect("applies");
    assert_ne!([tree.text("mm/memory.c"), tree.text("mm/swapfile.c")], before);
    tree.apply("series-mbox-reversed/fix.mbx", true).await.expect("comes out");
    assert_eq!([tree.text("mm/memory.c"), tree.text("mm/swapfile.c")], before);
}

#[tokio::test]
async fn what_is_half_there_is_told_by_file() {
    let tree = Tree::new();
    tree.apply("half-there/half.patch", false).await.expect("applies");
    let text = tree.refuses("half-there/fix.patch").await;
    assert!(text.contains("has the change already") && text.contains("does not have it"), "{text}");

    let tree = Tree::new();
    tree.apply("one-fails-one-there/tree.patch", false).await.expect("applies");
    let text = tree.refuses("one-fails-one-there/fix.patch").await;
    assert!(text.contains("hunk 1 at line") && text.contains("has the change already"), "{text}");
}

#[tokio::test]
async fn what_is_refused_is_refused_by_its_name() {
    for (case, words) in [
        ("cover-alone/0000-cover-letter.patch", &["cover letter"][..]),
        ("p0/fix.patch", &["memory.c", "-p0"]),
        ("symlink/fix.patch", &["symbolic link"]),
        ("context-diff/fix.patch", &["context diff", "diff -u"]),
        ("one-file-missing/fix.patch", &["mm/swap_state_new.c", "no such file"]),
    ] {
        let text = Tree::new().refuses(case).await;
        assert!(words.iter().all(|word| text.contains(word)), "{case}: {text}");
    }
}
