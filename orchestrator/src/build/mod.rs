//! From a plan's kernel and variant to a kernel that boots, kept in the cache under everything it was made from.
//!
//! ```text
//! source ─▶ patch ─▶ config ─▶ make ─▶ <cache>/kernels/<key>/{vmlinux,kernel.config,build.log,meta.json}
//! ```
//!
//! A kernel that is there already costs a few milliseconds: nothing is unpacked and no `make` runs. Variants of one kernel
//! are built one after the other from one work tree ([`tree`]), so that the second costs only what its patches touch.
//!
//! For x86-64 kernels. Series before 5.4 are not supported: nothing older was tried. A kernel without the PVH entry is
//! booted from its bzImage, which only such a kernel has made for it.

pub mod config;
pub mod elf;
pub mod initramfs;
pub mod make;
pub mod patch;
pub mod tree;

mod backport;
mod beneath;
mod ci_cache_key;
mod compile;
mod error;
mod inputs;
mod objects;
mod pin;
pub mod program;
mod source;
mod text;
mod toolchain;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use backport::{Backport, Fit, backports};
pub use ci_cache_key::ci_cache_key;
pub use error::Error;
pub use inputs::check_inputs;
pub use pin::{Identity, source_identity};
pub use source::revisions;
pub use text::source_text;
pub use toolchain::Toolchain;

use crate::cache::{Cache, Filled, Key, Kind, Lock};
use crate::journal::entry::Built;
use crate::plan::model::{BaseConfig, Kernel, Source, Variant};

/// Part of every key: goes up when twinboot builds kernels in another way.
const RECIPE: &str = "1";

/// What to build.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// One of its variants.
    pub variant: &'a Variant,
    /// Jobs at a time.
    pub jobs: usize,
    /// Guests run beside the build: it takes what they leave of the CPUs.
    pub yields: bool,
}

/// A kernel that is ready to boot.
#[derive(Debug, Clone)]
pub struct BuiltKernel {
    /// What QEMU is given: `vmlinux` when it boots through PVH, else the bzImage.
    pub boot: PathBuf,
    /// [`BuiltKernel::boot`] is started through PVH.
    pub pvh: bool,
    /// The uncompressed kernel with its symbols.
    pub vmlinux: Option<PathBuf>,
    /// The final configuration.
    pub config: Option<PathBuf>,
    /// Everything the build said.
    pub log: Option<PathBuf>,
    /// `…/lib/modules/<release>`.
    pub modules: Option<PathBuf>,
    /// What the tree is, for people: `linux-source-6.1 6.1.192-2`.
    pub source: String,
    /// For the journal.
    pub info: Built,
    /// Keeps `twinboot clean` from taking the files away.
    pub in_use: Option<Arc<Lock>>,
}

/// How far a build has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The source is being downloaded.
    Fetch(String),
    /// What a reader must know of where it comes from.
    Notice(String),
    /// The source is being unpacked.
    Unpack,
    /// Patches are being applied.
    Patch,
    /// The configuration is being made.
    Configure,
    /// Objects are being compiled.
    Compile {
        /// Objects made so far.
        done: u64,
        /// Objects there are to make, where an earlier build of this tree has shown it.
        total: Option<u64>,
    },
    /// The kernel is being linked.
    Link,
    /// It was there already.
    Cached,
}

/// What is kept beside a built kernel.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    source: String,
    pvh: bool,
    release: String,
    config_sha256: String,
    compiler: String,
    load_digest: String,
    seconds: f64,
    patch_notes: Vec<String>,
    /// Relative to the entry.
    modules: Option<PathBuf>,
}

/// The variant's kernel: from the cache, or built into it.
pub async fn build(
    request: &Request<'_>,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<BuiltKernel, Error> {
    if let Source::Image { kernel, modules, config } = &request.kernel.source_of(request.variant) {
        pin::check_image(request.kernel, kernel).await?;
        return ready(request, kernel, modules.as_ref(), config.as_ref(), progress);
    }
    let Inputs { asked, patches, revision, label, base_text, source, toolchain, work, key } =
        resolve_inputs(request, cache, progress, cancel).await?;
    let recipe = compile::Recipe {
        what: format!("{} ({})", request.kernel.name, request.variant.name),
        source: &source,
        label: &label,
        revision: &revision,
        patches: &patches,
        base: &request.kernel.base_config,
        base_text,
        asked: &asked,
        toolchain: &toolchain,
        jobs: request.jobs,
        yields: request.yields,
        work,
    };
    let filled = cache
        .fill(Kind::Kernels, &key, cancel, async |dest: &Path| {
            let started = Instant::now();
            let made = compile::compile(&recipe, dest, cache, progress, cancel).await?;
            let modules = made.modules.then(|| Path::new("modules/lib/modules").join(&made.release));
            let meta = Meta {
                source: label.clone(),
                pvh: made.facts.pvh,
                release: made.release,
                config_sha256: made.config_sha256,
                compiler: toolchain.compiler.clone(),
                load_digest: made.facts.load_digest,
                seconds: started.elapsed().as_secs_f64(),
                patch_notes: made.patch_notes,
                modules,
            };
            meta.write(dest)
        })
        .await?;
    if filled.hit {
        progress(Step::Cached);
    }
    from_entry(request, filled, key)
}

/// Fetches and unpacks what [`build`] will build from, unless the kernel is there already. Takes one CPU at most, so that it
/// is worth doing while another kernel is compiled.
pub async fn unpack(
    request: &Request<'_>,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if request.kernel.source_of(request.variant).is_ready() {
        return Ok(());
    }
    let Inputs { source, work, key, .. } = resolve_inputs(request, cache, progress, cancel).await?;
    if cache.has(Kind::Kernels, &key).await {
        return Ok(());
    }
    compile::unpacked(&source, &work, cache, progress, cancel).await.map(drop)
}

/// Everything a kernel is made from, read and named.
struct Inputs {
    asked: Vec<config::Asked>,
    patches: Vec<patch::Loaded>,
    /// What a variant's own revision changes in the source's files, before the patches.
    revision: tree::Wanted,
    /// What the variant is made from, for people.
    label: String,
    base_text: Option<String>,
    source: source::Resolved,
    toolchain: Toolchain,
    /// Key of the work tree that all variants of the kernel share.
    work: String,
    /// Key of the build.
    key: String,
}

/// Reads what `request` names and works out the keys. Nothing is unpacked.
async fn resolve_inputs(
    request: &Request<'_>,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Inputs, Error> {
    let asked = config::load(&request.kernel.config)?;
    let patches = request.variant.patches.iter().map(patch::load).collect::<Result<Vec<_>, _>>()?;
    let (base_name, base_text) = base(&request.kernel.base_config)?;
    let source = pin::resolve(request.kernel, cache, progress, cancel).await?;
    let own = match &request.variant.rev {
        Some(_) => {
            Some(source::resolve(&request.kernel.source_of(request.variant), false, cache, progress, cancel).await?)
        }
        None => None,
    };
    let own_identity = own.as_ref().map(|own| own.identity.clone());
    let label = own.as_ref().unwrap_or(&source).label.clone();
    let (source, revision) = match own {
        None => (source, tree::Wanted::new()),
        // In the work tree of the kernel's source, so that only what differs is compiled.
        Some(own) => match source.changes_to(&own, cancel).await? {
            Some(changes) => (source, changes),
            None => (own, tree::Wanted::new()),
        },
    };
    let toolchain = Toolchain::probe(cancel).await?;
    let options = options(&asked);
    let work = || {
        Key::new()
            .part("recipe", RECIPE)
            .part("source", &source.identity)
            .part("base", base_name)
            .part("base text", base_text.as_deref().unwrap_or_default())
            .part("options", &options)
            .part("compiler", &toolchain.compiler)
            .part("linker", &toolchain.linker)
    };
    let start = own_identity.iter().fold(work(), |key, identity| key.part("revision", identity));
    let key = patches
        .iter()
        .fold(start, |key, patch| key.part(if patch.info.reverse { "patch out" } else { "patch in" }, &patch.bytes));
    let (work, key) = (work().finish(), key.finish());
    Ok(Inputs { asked, patches, revision, label, base_text, source, toolchain, work, key })
}

impl Meta {
    const FILE: &str = "meta.json";

    fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(Self::FILE);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::io("write", &path)(error.into()))?;
        fs::write(&path, bytes).map_err(Error::io("write", path))
    }

    fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(Self::FILE);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::io("read", path)(error.into()))
    }

    fn built(&self, request: &Request<'_>, key: String, cached: bool) -> Built {
        Built {
            kernel: request.kernel.name.clone(),
            variant: request.variant.name.clone(),
            release: self.release.clone(),
            source: self.source.clone(),
            config_sha256: self.config_sha256.clone(),
            compiler: self.compiler.clone(),
            key,
            load_digest: self.load_digest.clone(),
            cached,
            seconds: if cached { 0.0 } else { self.seconds },
            patch_notes: self.patch_notes.clone(),
        }
    }
}

fn from_entry(request: &Request<'_>, filled: Filled, key: String) -> Result<BuiltKernel, Error> {
    let meta = Meta::read(&filled.dir)?;
    let vmlinux = filled.dir.join("vmlinux");
    Ok(BuiltKernel {
        boot: if meta.pvh { vmlinux.clone() } else { filled.dir.join("bzImage") },
        pvh: meta.pvh,
        vmlinux: Some(vmlinux),
        config: Some(filled.dir.join("kernel.config")),
        log: Some(filled.dir.join("build.log")),
        modules: meta.modules.as_ref().map(|modules| filled.dir.join(modules)),
        info: meta.built(request, key, filled.hit),
        source: meta.source,
        in_use: filled.in_use,
    })
}

/// What the configuration is merged over: a name for the key, and the text where it is a file.
fn base(base: &BaseConfig) -> Result<(&'static str, Option<String>), Error> {
    Ok(match base {
        BaseConfig::Allnoconfig => ("allnoconfig", None),
        BaseConfig::Defconfig => ("defconfig", None),
        BaseConfig::File(path) => {
            let bytes = fs::read(path).map_err(Error::io("read", path))?;
            // Only comments can be in another encoding; what is no option has no meaning to Kconfig either.
            let text = String::from_utf8_lossy(&bytes);
            ("file", Some(text.strip_prefix('\u{FEFF}').unwrap_or(&text).to_owned()))
        }
    })
}

/// What was asked of the configuration, for keys.
fn options(asked: &[config::Asked]) -> String {
    let lines: Vec<String> = asked.iter().map(|asked| format!("{} {}", asked.line(), asked.optional)).collect();
    lines.join("\n")
}

/// A kernel that the plan brings along: nothing is built, and nothing can be patched.
fn ready(
    request: &Request<'_>,
    kernel: &Path,
    modules: Option<&PathBuf>,
    config: Option<&PathBuf>,
    progress: &(dyn Fn(Step) + Sync),
) -> Result<BuiltKernel, Error> {
    let refuse = |path: &Path, reason: &str| Error::Image { path: path.to_path_buf(), reason: reason.to_owned() };
    if !request.variant.patches.is_empty() {
        return Err(refuse(kernel, "a ready kernel cannot be patched; give the variant a kernel of its own"));
    }
    for (path, is_there) in [(modules, Path::is_dir as fn(&Path) -> bool), (config, Path::is_file)] {
        if let Some(path) = path.filter(|path| !is_there(path)) {
            return Err(refuse(path, "the plan names it beside a ready kernel, and it is not there"));
        }
    }
    let metadata = fs::metadata(kernel).map_err(Error::io("open", kernel))?;
    let image = source::image::read(kernel)?;
    let config_sha256 =
        config.map(fs::read).transpose().map_err(Error::io("read", config.map_or(kernel, PathBuf::as_path)))?;
    let key = Key::new()
        .part("image", kernel.to_string_lossy().as_bytes())
        .part("digest", &image.load_digest)
        .part("size", metadata.size().to_le_bytes());
    progress(Step::Cached);
    let meta = Meta {
        source: kernel.display().to_string(),
        pvh: image.pvh,
        release: image.release,
        config_sha256: config_sha256.map(crate::cache::sha256).unwrap_or_default(),
        compiler: String::from("unknown"),
        load_digest: image.load_digest,
        seconds: 0.0,
        patch_notes: Vec::new(),
        modules: None,
    };
    Ok(BuiltKernel {
        boot: kernel.to_path_buf(),
        pvh: image.pvh,
        vmlinux: image.vmlinux.then(|| kernel.to_path_buf()),
        config: config.cloned(),
        log: None,
        modules: modules.cloned(),
        info: meta.built(request, key.finish(), true),
        source: meta.source,
        in_use: None,
    })
}
