//! Kernels: sources, configuration, and what the catalogue says of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::context::Context;
use crate::plan::model::{BaseConfig, ConfigLayer, Kernel, Location, Source};
use crate::plan::schema::{Catalogue, CatalogueEntry, OrText};
use crate::plan::source::series_in;
use crate::plan::yaml::{Document, KeyPath};
use crate::plan::{schema, validate};
use crate::suggest::{did_you_mean, did_you_mean_or};

/// The kernels as they are written and what they are made from, without their variants.
pub(super) fn sources(context: Context, raw: &schema::Plan) -> (Vec<schema::Kernel>, Vec<Kernel>) {
    if raw.kernels.is_empty() {
        context.no_items(&KeyPath::root(), "kernels", "kernel");
    }
    let mut seen = BTreeMap::new();
    let mut kernels = Vec::new();
    let mut catalogue: Option<(CatalogueFile, KeyPath)> = None;
    let written: Vec<schema::Kernel> = raw.kernels.iter().map(written).collect();
    for (index, (kernel, raw)) in written.iter().zip(&raw.kernels).enumerate() {
        let path = KeyPath::keys(&["kernels"]).index(index);
        match raw {
            OrText::Text(name) => {
                context.check(&path, validate::name(name));
                let position = seen.len();
                if seen.insert(name.as_str(), position).is_some() {
                    context.document.error(&path, format!("another kernel is called '{name}' already"), None);
                }
            }
            OrText::Full(_) => context.name(&path, &kernel.name, "kernel", &mut seen),
        }
        let by_name = kernel.source.is_none() && !context.document.has(&path.key("source")) && !kernel.name.is_empty();
        if by_name && catalogue.is_none() {
            catalogue = Some((CatalogueFile::read(context), path.clone()));
        }
        let catalogue = catalogue.as_ref().filter(|_| by_name).map(|(catalogue, _)| catalogue);
        let mut resolved = self::kernel(context, &path, kernel, catalogue);
        if let Some(lock) = context.lock {
            lock.pin(&mut resolved);
        }
        kernels.push(resolved);
    }
    if let Some((catalogue, path)) = catalogue {
        catalogue.finish(context, &path);
    }
    (written, kernels)
}

/// Turns a bare name into a kernel that has only a name.
fn written(raw: &OrText<schema::Kernel>) -> schema::Kernel {
    match raw {
        OrText::Text(name) => schema::Kernel { name: name.clone(), ..schema::Kernel::default() },
        OrText::Full(kernel) => kernel.clone(),
    }
}

/// Resolves one kernel; `catalogue` is set when the kernel comes from there.
fn kernel(context: Context, path: &KeyPath, raw: &schema::Kernel, catalogue: Option<&CatalogueFile>) -> Kernel {
    let entry = catalogue.and_then(|catalogue| catalogue.entry(context, &raw.name));
    let source = match (&raw.source, &entry) {
        (Some(source), _) => self::source(context, &path.key("source"), source),
        (None, Some((entry, catalogue, at))) => {
            if entry.source.is_none() {
                let hint = "where its tree comes from: `source: {debian: linux-source-6.1}`".to_owned();
                catalogue.document.missing(at, "source", Some(hint));
            }
            entry.source.as_ref().and_then(|source| self::source(*catalogue, &at.key("source"), source))
        }
        (None, None) => {
            if let Some(catalogue) = catalogue {
                let at = if context.document.has(&path.key("name")) { path.key("name") } else { path.clone() };
                catalogue.unknown(context, &at, &raw.name);
            } else {
                let hint =
                    "where its tree comes from: `source: {debian: linux-source-6.1}`, or git, dir, tarball or image";
                context.document.missing(path, "source", Some(hint.to_owned()));
            }
            None
        }
    };
    if source.as_ref().is_some_and(Source::is_ready) {
        for key in ["config", "base_config"].into_iter().filter(|key| context.document.has(&path.key(key))) {
            let hint = "a kernel with an `image` source is built already; take this out, or give it another source";
            context.document.key_error(&path.key(key), format!("`{key}` has no effect"), Some(hint.to_owned()));
        }
    }
    let given = |key: &str| context.document.has(&path.key(key));
    let base_config = match &entry {
        Some((entry, catalogue, at)) if !given("base_config") => {
            self::base_config(*catalogue, &at.key("base_config"), &entry.base_config.0)
        }
        _ => self::base_config(context, &path.key("base_config"), &raw.base_config.0),
    };
    let config = match &entry {
        Some((entry, catalogue, at)) if !given("config") => self::config(*catalogue, &at.key("config"), &entry.config),
        _ => self::config(context, &path.key("config"), &raw.config),
    };
    let said = raw.series.as_ref().or_else(|| entry.as_ref().and_then(|(entry, ..)| entry.series.as_ref()));
    let notes = entry.as_ref().map(|(entry, ..)| entry.notes.split_whitespace().collect::<Vec<_>>().join(" "));
    Kernel {
        name: raw.name.clone(),
        series: said.cloned().or_else(|| source.as_ref().and_then(|source| series(&raw.name, source))),
        // An error has been noted where there is none.
        source: source.unwrap_or_else(|| Source::Dir(PathBuf::new())),
        locked: None,
        notes: notes.filter(|notes| !notes.is_empty()),
        base_config,
        config,
        variants: Vec::new(),
    }
}

/// The patch series, from the kernel's source or else from its name.
fn series(name: &str, source: &Source) -> Option<String> {
    source.series().or_else(|| series_in(name))
}

fn source(context: Context, path: &KeyPath, raw: &schema::Source) -> Option<Source> {
    let schema::Source { debian, git, dir, tarball, image } = raw;
    let mut given = Vec::new();
    if let Some(debian) = debian {
        given.push(("debian", self::debian(context, &path.key("debian"), debian)));
    }
    if let Some(git) = git {
        given.push(("git", self::git(context, &path.key("git"), git)));
    }
    if let Some(dir) = dir {
        given.push(("dir", Some(Source::Dir(context.directory(&path.key("dir"), dir, "source tree")))));
    }
    if let Some(tarball) = tarball {
        given.push(("tarball", self::tarball(context, &path.key("tarball"), tarball)));
    }
    if let Some(image) = image {
        given.push(("image", Some(self::image(context, &path.key("image"), image))));
    }
    if given.len() > 1 {
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let message = format!("found {}, expected exactly one source", names.join(" and "));
        context.document.error(path, message, Some("keep the one to build from".to_owned()));
    }
    if given.is_empty() && !context.document.damaged(path) {
        let hint = "give it one of debian, git, dir, tarball or image";
        context.document.error(path, "found no source, expected exactly one", Some(hint.to_owned()));
    }
    given.into_iter().next().and_then(|(_, source)| source)
}

fn debian(context: Context, path: &KeyPath, raw: &OrText<schema::Debian>) -> Option<Source> {
    let (at, debian) = match raw {
        OrText::Text(package) => (path.clone(), &schema::Debian { package: package.clone(), ..Default::default() }),
        OrText::Full(debian) => (path.key("package"), debian),
    };
    if debian.package.is_empty() && !context.document.has(&at) {
        context.document.missing(path, "package", Some("such as `package: linux-source-6.1`".to_owned()));
        return None;
    }
    // https://www.debian.org/doc/debian-policy/ch-controlfields.html#source
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if debian.package.len() < 2 || !debian.package.chars().all(legal) || debian.package.starts_with(['+', '-', '.']) {
        let message = format!("'{}' cannot be a Debian package", debian.package);
        context.document.error(&at, message, Some("such as linux-source-6.1".to_owned()));
    }
    for (key, value) in [("suite", &debian.suite), ("version", &debian.version)] {
        let legal = |c: char| c.is_ascii_alphanumeric() || "+-.:~/".contains(c);
        if let Some(value) = value
            && (value.is_empty() || value.starts_with('-') || !value.chars().all(legal))
        {
            context.document.error(&path.key(key), format!("'{value}' cannot be a Debian {key}"), None);
        }
    }
    Some(Source::Debian {
        package: debian.package.clone(),
        suite: debian.suite.clone(),
        version: debian.version.clone(),
    })
}

fn git(context: Context, path: &KeyPath, raw: &schema::Git) -> Option<Source> {
    let location = location(context, path, raw.path.as_ref(), raw.url.as_ref(), |at, repository| {
        context.directory(at, repository, "git repository")
    });
    let at = path.key("rev");
    if context.document.has(&at) {
        check_rev(context, &at, &raw.rev);
    } else {
        context.document.missing(path, "rev", Some("the commit, tag or branch to build".to_owned()));
    }
    Some(Source::Git { location: location?, rev: raw.rev.clone() })
}

/// Reports what cannot be a revision.
pub(super) fn check_rev(context: Context, at: &KeyPath, rev: &str) {
    let unread = rev.is_empty() && context.document.damaged(at);
    if !unread && (rev.is_empty() || rev.starts_with('-') || rev.chars().any(|c| c.is_whitespace() || c.is_control())) {
        context.document.error(at, format!("'{rev}' cannot be a git revision"), None);
    }
}

fn tarball(context: Context, path: &KeyPath, raw: &schema::Tarball) -> Option<Source> {
    let location = location(context, path, raw.path.as_ref(), raw.url.as_ref(), |at, archive| {
        context.file(at, archive, "tar archive")
    });
    let at = path.key("sha256");
    if context.document.has(&at) {
        if !context.document.damaged(&at) {
            context.check(&at, validate::sha256(&raw.sha256));
        }
    } else {
        let hint = "an archive is built only when it is the one that was meant; `sha256sum FILE` prints it";
        context.document.missing(path, "sha256", Some(hint.to_owned()));
    }
    Some(Source::Tarball { location: location?, sha256: raw.sha256.to_ascii_lowercase() })
}

/// Either a path here or a URL.
fn location(
    context: Context,
    path: &KeyPath,
    here: Option<&PathBuf>,
    elsewhere: Option<&String>,
    found: impl Fn(&KeyPath, &PathBuf) -> PathBuf,
) -> Option<Location> {
    match (here, elsewhere) {
        (Some(_), Some(_)) => {
            context.document.error(path, "found path and url, expected one of them", None);
            None
        }
        (Some(here), None) => Some(Location::Path(found(&path.key("path"), here))),
        (None, Some(url)) => {
            if !url.contains(':') || url.starts_with('-') || url.contains(char::is_whitespace) {
                let hint = "a place on this machine is given with `path:`".to_owned();
                context.document.error(&path.key("url"), format!("'{url}' is not a URL"), Some(hint));
            }
            Some(Location::Url(url.clone()))
        }
        (None, None) => {
            if !context.document.damaged(path) {
                context.document.error(path, "found neither path nor url, expected one of them", None);
            }
            None
        }
    }
}

/// A kernel that is built already.
pub(super) fn image(context: Context, path: &KeyPath, raw: &OrText<schema::Image>) -> Source {
    match raw {
        OrText::Text(kernel) => {
            Source::Image { kernel: context.file(path, kernel, "kernel"), modules: None, config: None }
        }
        OrText::Full(image) => {
            let at = path.key("kernel");
            let kernel = if context.document.has(&at) {
                context.file(&at, &image.kernel, "kernel")
            } else {
                context.document.missing(path, "kernel", Some("the path of a bzImage or vmlinux".to_owned()));
                PathBuf::new()
            };
            let modules = image.modules.as_ref();
            let config = image.config.as_ref();
            Source::Image {
                kernel,
                modules: modules.map(|folder| context.directory(&path.key("modules"), folder, "folder of modules")),
                config: config.map(|file| context.file(&path.key("config"), file, "kernel configuration")),
            }
        }
    }
}

fn base_config(context: Context, path: &KeyPath, raw: &str) -> BaseConfig {
    match raw {
        "allnoconfig" => BaseConfig::Allnoconfig,
        "defconfig" => BaseConfig::Defconfig,
        file => {
            let meant = did_you_mean(file, ["allnoconfig", "defconfig"]);
            match meant.filter(|_| !context.path(file).exists()) {
                Some(hint) => {
                    let message = format!("'{file}' is neither allnoconfig nor defconfig, nor a file");
                    context.document.error(path, message, Some(hint));
                    BaseConfig::File(context.path(file))
                }
                None => BaseConfig::File(context.file(path, file, "kernel configuration")),
            }
        }
    }
}

fn config(context: Context, path: &KeyPath, raw: &[OrText<BTreeMap<String, schema::Scalar>>]) -> Vec<ConfigLayer> {
    let layer = |(index, layer): (usize, &OrText<_>)| {
        let at = path.index(index);
        match layer {
            OrText::Text(name) => ConfigLayer::Fragment(context.fragment(&at, name)),
            OrText::Full(options) => {
                let options = context.scalars(&at, options);
                for (name, value) in &options {
                    context.check(&at.key(name), validate::option(name, value));
                }
                ConfigLayer::Inline(options)
            }
        }
    };
    raw.iter().enumerate().map(layer).collect()
}

/// `kernels/sources.yaml`, read when the plan first needs it.
pub(super) struct CatalogueFile {
    path: PathBuf,
    /// Paths in it start here.
    folder: PathBuf,
    entries: Catalogue,
    /// None where there is no such file.
    document: Option<Document>,
}

impl CatalogueFile {
    /// Reads the catalogue. If it cannot be read it has no entries; [`CatalogueFile::finish`]
    /// reports why.
    pub(super) fn read(context: Context) -> Self {
        let path = context.roots.catalogue();
        let folder = path.parent().map_or_else(PathBuf::new, PathBuf::from);
        let (entries, document) = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let (entries, document) = Document::read::<Catalogue>(&text, &path);
                (entries.unwrap_or_default(), Some(document))
            }
            Err(_) => (BTreeMap::new(), None),
        };
        Self { path, folder, entries, document }
    }

    /// The entry `name`, its path in the catalogue, and the context to resolve it in.
    pub(super) fn entry<'a>(
        &'a self,
        context: Context<'a>,
        name: &str,
    ) -> Option<(&'a CatalogueEntry, Context<'a>, KeyPath)> {
        let document = self.document.as_ref()?;
        let entry = self.entries.get(name)?;
        Some((entry, Context { document, folder: &self.folder, ..context }, KeyPath::keys(&[name])))
    }

    /// Reports, at `path` of the plan, a kernel that is not in the catalogue.
    pub(super) fn unknown(&self, context: Context, path: &KeyPath, name: &str) {
        let (message, hint) = if self.document.is_some() {
            let known = self.entries.keys().map(String::as_str);
            (
                format!("there is no kernel '{name}' in the catalogue, and no source is given for it"),
                did_you_mean_or(name, known, "in kernels/sources.yaml"),
            )
        } else {
            let message = format!("kernel '{name}' has no source, and there is no catalogue {}", self.path.display());
            (message, Some("where its tree comes from: `source: {debian: linux-source-6.1}`".to_owned()))
        };
        context.document.error(path, message, hint);
    }

    /// Reports the catalogue's own errors at `path` of the plan.
    pub(super) fn finish(self, context: Context, path: &KeyPath) {
        if let Some(document) = self.document.filter(Document::has_errors) {
            let errors = document.into_diagnostics().to_string();
            let message = format!("the catalogue has errors:\n  {}", errors.trim_end().replace('\n', "\n  "));
            context.document.error(path, message, None);
        }
    }
}
