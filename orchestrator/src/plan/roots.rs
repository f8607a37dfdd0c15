//! The data folder: configuration fragments, patches, image recipes and plans that come with
//! twinboot.

use std::path::{Path, PathBuf};

/// Environment variable that names the data folder when the command line does not.
pub const VARIABLE: &str = "TWINBOOT_DATA";

/// What marks a data folder.
const SIGN: &str = "kernels/config";

/// The data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    data: PathBuf,
}

/// Why there is no data folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named folder is not a data folder.
    #[error("{} (named by {by}) is not a data folder: it has no {SIGN}; name the folder that holds kernels/ and images/", path.display())]
    NotOne {
        /// What was named.
        path: PathBuf,
        /// The option or the variable.
        by: &'static str,
    },
    /// No folder was named and none was found.
    #[error(
        "no data folder: no folder above {} and none above the twinboot program has {SIGN}; name the folder that holds kernels/ and images/ with --data DIR or {VARIABLE}",
        plan.display()
    )]
    NotFound {
        /// The plan.
        plan: PathBuf,
    },
}

impl Roots {
    /// Takes `data` as the data folder without a check.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into() }
    }

    /// Finds the data folder for a plan: the one that is named (`--data`), else `TWINBOOT_DATA`,
    /// else the nearest folder above the plan, else above the running program, that has
    /// `kernels/config`.
    ///
    /// # Errors
    ///
    /// When there is none, or the named folder is not one.
    pub fn find(plan: &Path, named: Option<&Path>) -> Result<Self, Error> {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let program = std::env::current_exe().ok();
        Self::choose(plan, named, variable.as_deref(), program.as_deref())
    }

    /// Finds the data folder for a plan that is to be written somewhere in or below `folder`.
    ///
    /// # Errors
    ///
    /// As for [`Roots::find`].
    pub fn find_in(folder: &Path, named: Option<&Path>) -> Result<Self, Error> {
        let is_one = named.is_none() && std::env::var_os(VARIABLE).is_none() && folder.join(SIGN).is_dir();
        if is_one {
            return Self::find(&folder.join(SIGN), None);
        }
        Self::find(folder, named)
    }

    fn choose(
        plan: &Path,
        named: Option<&Path>,
        variable: Option<&Path>,
        program: Option<&Path>,
    ) -> Result<Self, Error> {
        for (path, by) in [(named, "--data"), (variable, VARIABLE)] {
            if let Some(path) = path {
                return match path.canonicalize() {
                    Ok(data) if data.join(SIGN).is_dir() => Ok(Self { data }),
                    _ => Err(Error::NotOne { path: path.to_path_buf(), by }),
                };
            }
        }
        let above = |path: &Path| {
            let path = path.canonicalize().ok()?;
            path.ancestors().skip(1).find(|folder| folder.join(SIGN).is_dir()).map(Path::to_path_buf)
        };
        above(plan)
            .or_else(|| above(program?))
            .map(|data| Self { data })
            .ok_or_else(|| Error::NotFound { plan: plan.to_path_buf() })
    }

    /// The folder itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where the configuration fragment `name` is or would be.
    pub fn fragment(&self, name: &str) -> PathBuf {
        self.data.join(SIGN).join(format!("{name}.config"))
    }

    /// Names of the configuration fragments there are.
    pub fn fragments(&self) -> Vec<String> {
        names(&self.data.join(SIGN), ".config")
    }

    /// Where the catalogue of kernels is or would be.
    pub fn catalogue(&self) -> PathBuf {
        self.data.join("kernels/sources.yaml")
    }

    /// Folder of the patches for a series such as `6.1`.
    pub fn patches(&self, series: &str) -> PathBuf {
        self.data.join("kernels/patches").join(series)
    }

    /// Where the image recipe `name` is or would be.
    pub fn recipe(&self, name: &str) -> PathBuf {
        self.data.join("images").join(format!("{name}.yaml"))
    }

    /// The plans that come with twinboot, by name.
    pub fn plans(&self) -> Vec<PathBuf> {
        let folder = self.data.join("plans");
        names(&folder, ".yaml").iter().map(|name| folder.join(format!("{name}.yaml"))).collect()
    }

    /// Names of the image recipes there are.
    pub fn recipes(&self) -> Vec<String> {
        names(&self.data.join("images"), ".yaml")
    }
}

/// Names of the files in a folder that end in `suffix`, without it, sorted; none when the folder
/// cannot be read.
pub(super) fn names(folder: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(suffix).map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_folder(at: &Path) -> PathBuf {
        std::fs::create_dir_all(at.join(SIGN)).expect("makes folders");
        at.canonicalize().expect("is there")
    }

    #[test]
    fn the_nearest_named_thing_wins() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let [plans, named, variable, program] =
            ["plans", "named", "variable", "program"].map(|name| data_folder(&scratch.path().join(name)));
        std::fs::create_dir_all(plans.join("a/b")).expect("makes folders");
        let plan = plans.join("a/b/p.yaml");
        std::fs::write(&plan, "").expect("writes");
        let elsewhere = scratch.path().join("p.yaml");
        std::fs::write(&elsewhere, "").expect("writes");
        let exe = program.join("twinboot");
        std::fs::write(&exe, "").expect("writes");

        let choose = |plan: &Path, named: Option<&Path>, variable: Option<&Path>, program: Option<&Path>| {
            Roots::choose(plan, named, variable, program).map(|roots| roots.data)
        };
        assert_eq!(choose(&plan, Some(&named), Some(&variable), Some(&exe)).expect("found"), named);
        assert_eq!(choose(&plan, None, Some(&variable), Some(&exe)).expect("found"), variable);
        assert_eq!(choose(&plan, None, None, Some(&exe)).expect("found"), plans);
        assert_eq!(choose(&elsewhere, None, None, Some(&exe)).expect("found"), program);
        assert!(matches!(choose(&elsewhere, None, None, None), Err(Error::NotFound { .. })));
        let wrong = scratch.path().join("nothing");
        assert!(matches!(choose(&plan, Some(&wrong), None, None), Err(Error::NotOne { by: "--data", .. })));
    }
}
