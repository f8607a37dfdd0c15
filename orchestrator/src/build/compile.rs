//! From a source and patches to a kernel, in the work tree that the variants share.

use std::fs;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::config::{self, Asked, Values};
use super::make::{self, Make};
use super::patch::Loaded;
use super::source::Resolved;
use super::tree::{Tree, UNPACKING, Wanted, kconfig_identity};
use super::{Error, Step, Toolchain, elf};
use crate::cache::{Cache, Key, Kind, Manifest, sha256};
use crate::plan::model::BaseConfig;

/// Folder under `arch/` whose Kconfig is read and whose boot image is made.
pub const ARCH: &str = "x86";

/// Everything that goes into a kernel.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// Kernel and variant, for messages.
    pub what: String,
    /// The tree.
    pub source: &'a Resolved,
    /// What it is with the variant's revision, for people.
    pub label: &'a str,
    /// What the variant's revision changes in its files.
    pub revision: &'a Wanted,
    /// Patches in order.
    pub patches: &'a [Loaded],
    /// What the options are merged over.
    pub base: &'a BaseConfig,
    /// Text of a base that is a file.
    pub base_text: Option<String>,
    /// Options asked for.
    pub asked: &'a [Asked],
    /// What it is compiled with.
    pub toolchain: &'a Toolchain,
    /// Jobs at a time.
    pub jobs: usize,
    /// See [`super::Request::yields`].
    pub yields: bool,
    /// Key of the work tree.
    pub work: String,
}

/// What a build has to say of itself.
#[derive(Debug)]
pub struct Made {
    /// `make kernelrelease`.
    pub release: String,
    /// SHA-256 of the final configuration.
    pub config_sha256: String,
    /// See [`elf::read`].
    pub facts: elf::Facts,
    /// Hunks with an offset or fuzz.
    pub patch_notes: Vec<String>,
    /// Modules were installed.
    pub modules: bool,
}

/// Builds into `dest`: `vmlinux`, `kernel.config`, `build.log`; `bzImage` when the kernel cannot be booted without it;
/// `modules/` when there are any.
pub async fn compile(
    recipe: &Recipe<'_>,
    dest: &Path,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Made, Error> {
    let mut tree = unpacked(recipe.source, &recipe.work, cache, progress, cancel).await?;

    progress(Step::Patch);
    let (wanted, patch_notes) = tree.patched(recipe.revision, recipe.patches, cancel).await?;
    let rewritten = tree.switch(&wanted)?;

    let log = tree.log();
    let header = format!(
        "# {}: {} with {} patches, {} files rewritten\n",
        recipe.what,
        recipe.label,
        recipe.patches.len(),
        rewritten.len()
    );
    fs::write(&log, header).map_err(Error::io("write to", &log))?;
    let (src, obj) = (tree.src(), tree.obj());
    let configured_for = Key::new().part("kconfig", kconfig_identity(&wanted)).finish();
    let is_configured = tree.is_configured(&configured_for);
    tree.building(&configured_for)?;
    let make = Make {
        src: &src,
        obj: &obj,
        log,
        jobs: recipe.jobs,
        path: recipe.toolchain.path(&tree.ccache(), std::env::var_os("PATH").unwrap_or_default())?,
        yields: recipe.yields,
        lock: tree.lock(),
        what: recipe.what.clone(),
    };

    let unlinked = !obj.join("vmlinux").exists();
    let from_nothing = unlinked && !obj.join("include/config/kernel.release").exists();
    let built = async {
        if !is_configured {
            progress(Step::Configure);
            configure(recipe, &make, cancel).await?;
        }
        let config = read_config(&obj)?;
        let values = Values::parse(&config);
        config::verify(recipe.asked, &values, &src, ARCH)?;
        let objects =
            objects(&make, &values, unlinked, tree.objects().filter(|_| from_nothing), progress, cancel).await?;
        Ok::<_, Error>((values, objects))
    }
    .await;
    let (values, objects) = match built {
        Ok(built) => built,
        // `make` was ended from outside: what it leaves is repaired at the next use.
        Err(error) if error.is_interrupted() => return Err(error),
        Err(error) => {
            tree.built(None)?;
            return Err(error);
        }
    };
    let collected = collect(&make, &values, dest, cancel).await;
    let collected = match collected {
        Err(error) if error.is_interrupted() => return Err(error),
        collected => collected,
    };
    tree.built(from_nothing.then_some(objects))?;
    tree.configured(configured_for)?;
    let (release, facts, modules) = collected?;
    let config = read_config(&obj)?;
    Ok(Made { release, config_sha256: sha256(config), facts, patch_notes, modules })
}

/// The work tree `work` with `source` in it.
pub async fn unpacked(
    source: &Resolved,
    work: &str,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Tree, Error> {
    let lock = cache.lock(Kind::Work, work, cancel).await?;
    let dir = cache.path(Kind::Work, work);
    let mut tree = checked(Tree::open(dir.clone(), lock)?, &source.label, cache).await?;
    let unrecorded = tree.has_source() && !tree.is_recorded();
    if tree.has_source() && !unrecorded {
        return Ok(tree);
    }
    let scratch = tempfile::Builder::new().prefix(UNPACKING).tempdir_in(&dir);
    let scratch = scratch.map_err(Error::io("make a folder in", &dir))?;
    let top = scratch.path().join("tree");
    fs::create_dir(&top).map_err(Error::io("make", &top))?;
    let top = source.unpack(&top, cache, progress, cancel).await?;
    let read = top.clone();
    let mut manifest = blocking(move || Manifest::of(&read, false)).await?.map_err(Error::io("read", &top))?;
    if unrecorded {
        let recorded;
        (tree, manifest, recorded) = blocking(move || {
            let recorded = tree.record(&manifest);
            (tree, manifest, recorded)
        })
        .await?;
        let Err(reason) = recorded else { return Ok(tree) };
        cache.notice(&format!("the unpacked {} of an older twinboot is not its source ({reason})", source.label));
        tree.give_up()?;
    }
    tree.adopt(&top, &manifest)?;
    Ok(tree)
}

/// Throws away what is damaged in a work tree.
async fn checked(tree: Tree, label: &str, cache: &Cache) -> Result<Tree, Error> {
    if !tree.has_source() {
        return Ok(tree);
    }
    let (mut tree, source, objects) = blocking(move || {
        let (source, objects) = (tree.damage(), tree.objects_damage());
        (tree, source, objects)
    })
    .await?;
    if let Some(reason) = source {
        cache.notice(&format!("the unpacked {label} in the cache is damaged ({reason}): it is made again"));
        tree.give_up()?;
    } else if let Some(reason) = objects {
        cache.notice(&format!("the objects of {label} in the cache are damaged ({reason}): they are made again"));
        tree.give_up_objects()?;
    }
    Ok(tree)
}

/// Runs what blocks beside the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let lost = |error| Error::io("look at", "a work tree")(std::io::Error::other(error));
    tokio::task::spawn_blocking(work).await.map_err(lost)
}

fn read_config(obj: &Path) -> Result<String, Error> {
    let path = obj.join(".config");
    fs::read_to_string(&path).map_err(Error::io("read", &path))
}

/// Writes the base configuration, merges the options over it and has Kconfig settle the rest.
async fn configure(recipe: &Recipe<'_>, make: &Make<'_>, cancel: &CancellationToken) -> Result<(), Error> {
    let path = make.obj.join(".config");
    let base = match (recipe.base, &recipe.base_text) {
        (BaseConfig::File(_), Some(text)) => text.clone(),
        (base, _) => {
            let target = if *base == BaseConfig::Defconfig { "defconfig" } else { "allnoconfig" };
            make.run(&[target.to_owned()], cancel, |_| {}).await?;
            read_config(make.obj)?
        }
    };
    fs::write(&path, config::merge(&base, recipe.asked)).map_err(Error::io("write", &path))?;
    make.run(&["olddefconfig".to_owned()], cancel, |_| {}).await
}

/// Compiles and links; returns how many objects were made. `total` is what an earlier build from nothing made; where
/// that does not tell and the kernel is not linked yet, a dry run counts.
async fn objects(
    make: &Make<'_>,
    values: &Values,
    unlinked: bool,
    mut total: Option<u64>,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<u64, Error> {
    let modules = values.has_modules();
    let (mut done, mut linking) = (0, false);
    if unlinked && total.is_none() && !modules {
        progress(Step::Compile { done, total });
        // Kbuild can say what it would do only once its generated headers and host programs are there.
        make.run(&["prepare".to_owned()], cancel, |line| done += u64::from(make::is_object(line))).await?;
        total = make.count("vmlinux", cancel).await?.map(|more| done + more);
    }
    let mut targets = vec!["vmlinux".to_owned()];
    if modules {
        targets.push("modules".to_owned());
    }
    progress(Step::Compile { done, total });
    make.run(&targets, cancel, |line| {
        if make::is_object(line) {
            done += 1;
            progress(Step::Compile { done, total: total.map(|total| total.max(done)) });
        } else if make::is_link(line) && !linking {
            linking = true;
            progress(Step::Link);
        }
    })
    .await?;
    Ok(done)
}

/// Copies what was built into the cache entry and reads what has to be known of it.
async fn collect(
    make: &Make<'_>,
    values: &Values,
    dest: &Path,
    cancel: &CancellationToken,
) -> Result<(String, elf::Facts, bool), Error> {
    let copy = |from: PathBuf, name: &str| {
        let to = dest.join(name);
        fs::copy(&from, &to).map(|_| to).map_err(Error::io("copy", from))
    };
    let release_file = make.obj.join("include/config/kernel.release");
    let release = fs::read_to_string(&release_file).map_err(Error::io("read", release_file))?.trim().to_owned();
    let modules = values.has_modules();
    if modules {
        let to = dest.join("modules");
        make.run(&["modules_install".to_owned(), format!("INSTALL_MOD_PATH={}", to.display())], cancel, |_| {}).await?;
        for link in ["build", "source"] {
            // They lead back into the work tree; newer kernels no longer make `source`.
            let _ = fs::remove_file(to.join("lib/modules").join(&release).join(link));
        }
    }
    let vmlinux = copy(make.obj.join("vmlinux"), "vmlinux")?;
    let data = fs::read(&vmlinux).map_err(Error::io("read", &vmlinux))?;
    let facts = elf::read(&data).map_err(|error| Error::Image { path: vmlinux, reason: error.to_string() })?;
    if !facts.pvh {
        // Its setup code and its compression would otherwise be the dearest part of a build after a small patch.
        make.run(&["bzImage".to_owned()], cancel, |_| {}).await?;
        copy(make.obj.join("arch").join(ARCH).join("boot/bzImage"), "bzImage")?;
    }
    copy(make.obj.join(".config"), "kernel.config")?;
    copy(make.log.clone(), "build.log")?;
    Ok((release, facts, modules))
}
