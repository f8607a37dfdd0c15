//! What is compared: where the kernel comes from, and what makes its two sides.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::Beside;
use crate::build::{Error, revisions};
use crate::cli::args::CompareArgs;
use crate::cli::exit::{Failure, INFRASTRUCTURE, USAGE};
use crate::plan::patch_files;

/// The work tree as it lies.
const AS_IT_LIES: &str = "@";

/// Where the kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A repository, and the commit of the base.
    Tree { path: PathBuf, commit: String, series: Option<String> },
    /// A Debian package.
    Debian(String),
    /// A name of the catalogue.
    Catalogue(String),
}

/// One side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Its commit where it is not the kernel's own.
    pub rev: Option<String>,
    /// Patches on top, by their names beside the plan.
    pub patches: Vec<(String, bool)>,
    /// What it is, in the words of the command line.
    pub words: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub from: From,
    pub base: Side,
    pub patched: Side,
    pub beside: Vec<Beside>,
}

/// Reads the question from the command line, the repository and the patches.
pub async fn question(args: &CompareArgs, cancel: &CancellationToken) -> Result<Question, Failure> {
    if let Some(kernel) = &args.kernel {
        let from = match kernel.split_once(':') {
            Some(("debian", package)) => From::Debian(package.to_owned()),
            None => From::Catalogue(kernel.clone()),
            Some(_) => {
                let message = format!("'{kernel}' is no kernel: debian:PACKAGE or a name of kernels/sources.yaml");
                return Err(Failure::say(USAGE, message));
            }
        };
        let (patched, beside) = with_patches(&args.patch)?;
        let base = Side { words: kernel.clone(), ..Side::default() };
        return Ok(Question { from, base, patched, beside });
    }
    let tree = args
        .tree
        .canonicalize()
        .map_err(|error| Failure::say(USAGE, format!("cannot open the tree `{}`: {error}", args.tree.display())))?;
    let repository = Repository { tree, cancel };
    if let Some(commit) = &args.revert {
        return repository.reverted(commit, single(args)?).await;
    }
    if !args.patch.is_empty() {
        return repository.with(&args.patch, single(args)?).await;
    }
    let (base, patched) = range(args.revisions.as_deref().unwrap_or("HEAD..@"))?;
    repository.two(&base, &patched).await
}

/// The one revision that --patch and --revert take.
fn single(args: &CompareArgs) -> Result<&str, Failure> {
    let rev = args.revisions.as_deref().unwrap_or("HEAD");
    if rev.contains("..") {
        let message = format!("with --patch or --revert name one revision, not a range such as `{rev}`");
        return Err(Failure::say(USAGE, message));
    }
    Ok(rev)
}

/// BASE and PATCHED of BASE..PATCHED; an empty end is HEAD, as for git.
fn range(text: &str) -> Result<(String, String), Failure> {
    let wanted = "name BASE..PATCHED, such as HEAD~1..HEAD, or BASE..@ for the tree as it lies";
    if text.contains("...") {
        let message = format!("`{text}` names what two revisions do not share, which is no comparison: {wanted}");
        return Err(Failure::say(USAGE, message));
    }
    let Some((base, patched)) = text.split_once("..") else {
        return Err(Failure::say(USAGE, format!("`{text}` is one revision, and two are compared: {wanted}")));
    };
    let or_head = |rev: &str| if rev.is_empty() { "HEAD".to_owned() } else { rev.to_owned() };
    Ok((or_head(base), or_head(patched)))
}

/// A repository and its questions.
struct Repository<'a> {
    tree: PathBuf,
    cancel: &'a CancellationToken,
}

/// A side before it is known whether its commit is the base's.
struct State {
    commit: String,
    patches: Vec<(String, bool)>,
    words: String,
}

impl Repository<'_> {
    async fn commit(&self, rev: &str) -> Result<String, Failure> {
        revisions::commit(&self.tree, rev, self.cancel).await.map_err(|error| failure(&error))
    }

    /// The state that `rev` names; what is not committed is added to `beside`.
    async fn state(&self, rev: &str, beside: &mut Vec<Beside>) -> Result<State, Failure> {
        if rev != AS_IT_LIES {
            return Ok(State { commit: self.commit(rev).await?, patches: Vec::new(), words: rev.to_owned() });
        }
        let commit = self.commit("HEAD").await?;
        let bytes = revisions::uncommitted(&self.tree, self.cancel).await.map_err(|error| failure(&error))?;
        let name = "uncommitted.patch".to_owned();
        let patches = if bytes.is_empty() { Vec::new() } else { vec![(name.clone(), false)] };
        if !bytes.is_empty() {
            beside.push(Beside { name, bytes });
        }
        Ok(State { commit, patches, words: "the tree as it lies".to_owned() })
    }

    async fn question(&self, base: State, patched: State, beside: Vec<Beside>) -> Question {
        let series = revisions::series(&self.tree, &base.commit, self.cancel).await;
        let rev = (patched.commit != base.commit).then(|| patched.commit.clone());
        let from = From::Tree { path: self.tree.clone(), commit: base.commit, series };
        let base = Side { rev: None, patches: base.patches, words: base.words };
        Question { from, base, patched: Side { rev, patches: patched.patches, words: patched.words }, beside }
    }

    /// Two revisions.
    async fn two(&self, base: &str, patched: &str) -> Result<Question, Failure> {
        let mut beside = Vec::new();
        let base = self.state(base, &mut beside).await?;
        let patched = if patched == AS_IT_LIES || base.words != patched {
            self.state(patched, &mut beside).await?
        } else {
            State { commit: base.commit.clone(), patches: base.patches.clone(), words: base.words.clone() }
        };
        if base.commit == patched.commit && base.patches == patched.patches {
            let message = format!(
                "{} and {} are the same, so there is nothing to compare: name BASE..PATCHED, such as HEAD~1..HEAD",
                base.words, patched.words
            );
            return Err(Failure::say(USAGE, message));
        }
        Ok(self.question(base, patched, beside).await)
    }

    /// A revision, and the same with patches.
    async fn with(&self, files: &[PathBuf], rev: &str) -> Result<Question, Failure> {
        let mut beside = Vec::new();
        let base = self.state(rev, &mut beside).await?;
        let (side, own) = with_patches(files)?;
        let all = base.patches.iter().cloned().chain(side.patches).collect();
        beside.extend(own);
        let patched = State { commit: base.commit.clone(), patches: all, words: side.words };
        Ok(self.question(base, patched, beside).await)
    }

    /// A revision with `commit` taken out, and as it is.
    async fn reverted(&self, commit: &str, rev: &str) -> Result<Question, Failure> {
        let mut beside = Vec::new();
        let patched = self.state(rev, &mut beside).await?;
        let id = self.commit(commit).await?;
        let bytes = revisions::patch_of(&self.tree, &id, self.cancel).await.map_err(|error| failure(&error))?;
        let name = format!("{}.patch", id.get(..12).unwrap_or(&id));
        let out = patched.patches.iter().cloned().chain([(name.clone(), true)]).collect();
        beside.push(Beside { name, bytes });
        let words = format!("{} without {commit}", patched.words);
        let base = State { commit: patched.commit.clone(), patches: out, words };
        Ok(self.question(base, patched, beside).await)
    }
}

/// What the repository cannot answer is the user's to mend; what cannot be read is not.
fn failure(error: &Error) -> Failure {
    match error {
        Error::Source { .. } | Error::Tree { .. } => Failure::new(USAGE, error),
        _ => Failure::new(INFRASTRUCTURE, error),
    }
}

/// The patched side that these patches make, and copies of them.
fn with_patches(paths: &[PathBuf]) -> Result<(Side, Vec<Beside>), Failure> {
    let mut side = Side::default();
    let mut beside: Vec<Beside> = Vec::new();
    let mut words = Vec::new();
    for path in paths {
        for (stem, bytes) in contents(path)? {
            // In the order of the command line, whatever they are called.
            let name = format!("{:04}-{stem}", beside.len() + 1);
            side.patches.push((name.clone(), false));
            beside.push(Beside { name, bytes });
        }
        words.push(if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() });
    }
    side.words = format!("with {}", words.join(", "));
    Ok((side, beside))
}

/// The patches that `path` stands for, by name.
fn contents(path: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        if bytes.trim_ascii().is_empty() {
            return Err(Failure::say(USAGE, "standard input holds no patch: it is empty"));
        }
        return Ok(vec![("stdin.mbox".to_owned(), bytes)]);
    }
    if let Some((message, hint)) = patch_files::refusal(&path.to_string_lossy()) {
        return Err(Failure::say(USAGE, message).hint(hint));
    }
    let files = patch_files::expand(path).map_err(|message| Failure::say(USAGE, message))?;
    let files = files.unwrap_or_else(|| vec![path.to_path_buf()]);
    let read = |file: PathBuf| {
        let bytes = std::fs::read(&file)
            .map_err(|error| Failure::say(USAGE, format!("cannot read the patch `{}`: {error}", file.display())))?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((name, bytes))
    };
    files.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends() {
        let ends = |text| range(text).ok();
        let both = |base: &str, patched: &str| Some((base.to_owned(), patched.to_owned()));
        assert_eq!(ends("v6.1..@"), both("v6.1", "@"));
        assert_eq!(ends("HEAD~1.."), both("HEAD~1", "HEAD"));
        assert_eq!(ends("..fix"), both("HEAD", "fix"));
        assert!(ends("a...b").is_none() && ends("HEAD").is_none());
    }
}
