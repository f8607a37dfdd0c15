//! Files that a plan names: where they are, and whether they are there.

use std::path::{Path, PathBuf};

use super::{Context, guess};
use crate::plan::roots;
use crate::plan::yaml::{KeyPath, nearest};

impl Context<'_> {
    /// A path as the plan means it: relative to the plan's folder.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// The file that the plan names at `at`, which must be there.
    pub(super) fn file(&self, at: &KeyPath, path: impl AsRef<Path>, what: &str) -> PathBuf {
        self.existing(at, path.as_ref(), what, Path::is_file)
    }

    /// The folder that the plan names at `at`, which must be there.
    pub(super) fn directory(&self, at: &KeyPath, path: impl AsRef<Path>, what: &str) -> PathBuf {
        self.existing(at, path.as_ref(), what, Path::is_dir)
    }

    fn existing(&self, at: &KeyPath, path: &Path, what: &str, is_there: fn(&Path) -> bool) -> PathBuf {
        let found = self.path(path);
        if path.as_os_str().is_empty() {
            self.document.error(at, format!("the path of the {what} is empty"), None);
        } else if !is_there(&found) {
            let message = format!("there is no {what} {}", path.display());
            let hint = if found.exists() {
                Some("something else has that name".to_owned())
            } else if path.is_absolute() {
                None
            } else {
                Some("relative paths start at the plan's folder".to_owned())
            };
            self.document.error(at, message, hint);
        }
        found
    }

    /// A configuration fragment, by name or by path.
    pub(super) fn fragment(&self, at: &KeyPath, name: &str) -> PathBuf {
        if name.contains('/') || Path::new(name).extension().is_some_and(|extension| extension == "config") {
            return self.file(at, name, "configuration fragment");
        }
        let path = self.roots.fragment(name);
        if !path.is_file() {
            let known = self.roots.fragments();
            let hint = guess(name, known.iter().map(String::as_str), "in kernels/config");
            self.document.error(at, format!("there is no configuration fragment '{name}'"), hint);
        }
        path
    }

    /// An image recipe, by name or by path.
    pub(super) fn recipe(&self, at: &KeyPath, name: &str) -> PathBuf {
        let has_suffix = Path::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if name.contains('/') || has_suffix {
            return self.file(at, name, "image recipe");
        }
        let path = self.roots.recipe(name);
        if !path.is_file() {
            let known = self.roots.recipes();
            let hint = guess(name, known.iter().map(String::as_str), "in images");
            self.document.error(at, format!("there is no image recipe '{name}'"), hint);
        }
        path
    }

    /// A patch for a kernel of `series`: next to the plan, else in the data folder.
    pub(super) fn patch(&self, at: &KeyPath, name: &str, series: Option<&str>) -> PathBuf {
        let beside = self.path(name);
        if name.is_empty() {
            self.document.error(at, "the patch's name is empty", None);
            return beside;
        }
        if beside.is_file() {
            return beside;
        }
        let Some(series) = series else {
            let hint = "to look in kernels/patches/<series> too, give the kernel a `series: '6.1'`".to_owned();
            self.document.error(at, format!("there is no patch {name} next to the plan"), Some(hint));
            return beside;
        };
        let shipped = self.roots.patches(series).join(name);
        if shipped.is_file() {
            return shipped;
        }
        let mut known = roots::names(&self.roots.patches(series), "");
        known.extend(roots::names(self.folder, ".patch").into_iter().map(|stem| format!("{stem}.patch")));
        // Compared without the ending that makes all patches alike.
        let stem = |name: &str| name.trim_end_matches(".patch").to_owned();
        let stems: Vec<String> = known.iter().map(|name| stem(name)).collect();
        let hint = nearest(&stem(name), stems.iter().map(String::as_str))
            .and_then(|near| known.iter().find(|name| stem(name) == near))
            .map(|near| format!("did you mean `{near}`?"));
        let message = format!("there is no patch {name}, neither next to the plan nor in kernels/patches/{series}");
        self.document.error(at, message, hint);
        shipped
    }
}
