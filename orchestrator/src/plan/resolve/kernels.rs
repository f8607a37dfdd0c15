//! Kernels: sources and configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::catalogue::Shelf;
use super::{Context, variants};
use crate::plan::model::{BaseConfig, ConfigLayer, Kernel, LeftOut, Location, Source};
use crate::plan::schema::{self, OrText};
use crate::plan::validate;
use crate::plan::yaml::KeyPath;

pub(super) fn resolve(context: Context, raw: &schema::Plan) -> (Vec<Kernel>, Vec<LeftOut>) {
    let (written, mut kernels) = sources(context, raw);
    let left_out = variants::resolve(context, &raw.variants, &written, &mut kernels);
    (kernels, left_out)
}

/// The kernels as they are written and what they are made from, without their variants.
pub(super) fn sources(context: Context, raw: &schema::Plan) -> (Vec<schema::Kernel>, Vec<Kernel>) {
    if raw.kernels.is_empty() {
        context.no_items(&KeyPath::root(), "kernels", "kernel");
    }
    let mut seen = BTreeMap::new();
    let mut kernels = Vec::new();
    let mut shelf: Option<(Shelf, KeyPath)> = None;
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
        if by_name && shelf.is_none() {
            shelf = Some((Shelf::read(context), path.clone()));
        }
        let shelf = shelf.as_ref().filter(|_| by_name).map(|(shelf, _)| shelf);
        let mut resolved = self::kernel(context, &path, kernel, shelf);
        if let Some(lock) = context.lock {
            lock.pin(&mut resolved);
        }
        kernels.push(resolved);
    }
    if let Some((shelf, path)) = shelf {
        shelf.finish(context, &path);
    }
    (written, kernels)
}

/// A kernel that is only named has nothing but its name.
fn written(raw: &OrText<schema::Kernel>) -> schema::Kernel {
    match raw {
        OrText::Text(name) => schema::Kernel { name: name.clone(), ..schema::Kernel::default() },
        OrText::Full(kernel) => kernel.clone(),
    }
}

/// `shelf` is the catalogue, where the kernel is to come from it.
fn kernel(context: Context, path: &KeyPath, raw: &schema::Kernel, shelf: Option<&Shelf>) -> Kernel {
    let entry = shelf.and_then(|shelf| shelf.entry(context, &raw.name));
    let source = match (&raw.source, &entry) {
        (Some(source), _) => self::source(context, &path.key("source"), source),
        (None, Some((entry, shelf, at))) => {
            if entry.source.is_none() {
                let hint = "where its tree comes from: `source: {debian: linux-source-6.1}`".to_owned();
                shelf.document.missing(at, "source", Some(hint));
            }
            entry.source.as_ref().and_then(|source| self::source(*shelf, &at.key("source"), source))
        }
        (None, None) => {
            if let Some(shelf) = shelf {
                let at = if context.document.has(&path.key("name")) { path.key("name") } else { path.clone() };
                shelf.unknown(context, &at, &raw.name);
            } else {
                let hint =
                    "where its tree comes from: `source: {debian: linux-source-6.1}`, or git, dir, tarball or image";
                context.document.missing(path, "source", Some(hint.to_owned()));
            }
            None
        }
    };
    if matches!(source, Some(Source::Image { .. })) {
        for key in ["config", "base_config"].into_iter().filter(|key| context.document.has(&path.key(key))) {
            let hint = "a kernel with an `image` source is built already; take this out, or give it another source";
            context.document.key_error(&path.key(key), format!("`{key}` has no effect"), Some(hint.to_owned()));
        }
    }
    let given = |key: &str| context.document.has(&path.key(key));
    let base_config = match &entry {
        Some((entry, shelf, at)) if !given("base_config") => {
            self::base_config(*shelf, &at.key("base_config"), &entry.base_config.0)
        }
        _ => self::base_config(context, &path.key("base_config"), &raw.base_config.0),
    };
    let config = match &entry {
        Some((entry, shelf, at)) if !given("config") => self::config(*shelf, &at.key("config"), &entry.config),
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

/// The patch series of a kernel: from the name of its Debian package, else from its own.
fn series(name: &str, source: &Source) -> Option<String> {
    let package = match source {
        Source::Debian { package, .. } => package.strip_prefix("linux-source-").and_then(version_in),
        _ => None,
    };
    package.or_else(|| version_in(name))
}

/// The first `6.1`-like part of a name.
fn version_in(name: &str) -> Option<String> {
    let mut runs = name.split(|c: char| !c.is_ascii_digit() && c != '.');
    runs.find_map(|run| {
        let mut numbers = run.split('.');
        let (major, minor) = (numbers.next()?, numbers.next()?);
        (!major.is_empty() && !minor.is_empty()).then(|| format!("{major}.{minor}"))
    })
}

fn source(context: Context, path: &KeyPath, raw: &schema::Source) -> Option<Source> {
    let mut given = Vec::new();
    if let Some(debian) = &raw.debian {
        given.push(("debian", self::debian(context, &path.key("debian"), debian)));
    }
    if let Some(git) = &raw.git {
        given.push(("git", self::git(context, &path.key("git"), git)));
    }
    if let Some(dir) = &raw.dir {
        given.push(("dir", Some(Source::Dir(context.directory(&path.key("dir"), dir, "source tree")))));
    }
    if let Some(tarball) = &raw.tarball {
        given.push(("tarball", self::tarball(context, &path.key("tarball"), tarball)));
    }
    if let Some(image) = &raw.image {
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
    if !context.document.has(&at) {
        context.document.missing(path, "rev", Some("the commit, tag or branch to build".to_owned()));
    } else if raw.rev.starts_with('-') || raw.rev.chars().any(|c| c.is_whitespace() || c.is_control()) {
        context.document.error(&at, format!("'{}' cannot be a git revision", raw.rev), None);
    }
    Some(Source::Git { location: location?, rev: raw.rev.clone() })
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
            let near = crate::plan::yaml::nearest(file, ["allnoconfig", "defconfig"]);
            match near.filter(|_| !context.path(file).exists()) {
                Some(near) => {
                    let message = format!("'{file}' is neither allnoconfig nor defconfig, nor a file");
                    context.document.error(path, message, Some(format!("did you mean `{near}`?")));
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

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn a_series_is_the_first_two_numbers() {
        for (name, series) in [
            ("linux-6.1", Some("6.1")),
            ("6.12.117-mine", Some("6.12")),
            ("v7-2.x-5.10", Some("5.10")),
            ("mainline", None),
            ("next-20240101", None),
            ("6.", None),
        ] {
            assert_eq!(version_in(name).as_deref(), series, "{name}");
        }
    }
}
