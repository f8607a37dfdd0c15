//! The CI cache key of a build: what is known of its inputs without a network and without the build
//! machine.

use std::path::Path;

use super::{Error, RECIPE, base, config, options, patch, source};
use crate::cache::Key;
use crate::plan::model::{Kernel, Variant};

/// Machine the guests are.
const GUEST: &str = "x86_64";

/// A key that changes with the variant's source, configuration, patches or way of building. Paths
/// are relative to `home`, so that checkouts in different places agree. The key leaves out what
/// only the build machine knows: the version behind a package without `version` or a branch, the
/// contents of a source folder, and the compiler. The build's own key therefore checks cached
/// results again.
///
/// # Errors
///
/// When a fragment, a patch or a ready kernel cannot be read.
pub fn ci_cache_key(kernel: &Kernel, variant: &Variant, home: &Path) -> Result<String, Error> {
    let key = Key::new().part("recipe", RECIPE).part("guest", GUEST);
    let key = source::ci_key(key, &kernel.source_of(variant), home)?;
    let key = key.part("locked", kernel.locked.as_ref().map(|locked| locked.identity.as_str()).unwrap_or_default());
    let (base_name, base_text) = base(&kernel.base_config)?;
    let key = key
        .part("base", base_name)
        .part("base text", base_text.unwrap_or_default())
        .part("options", options(&config::load(&kernel.config)?));
    let patched = variant.patches.iter().try_fold(key, |key, patch| {
        let patch = patch::load(patch)?;
        Ok::<_, Error>(key.part(if patch.info.reverse { "patch out" } else { "patch in" }, &patch.bytes))
    })?;
    Ok(patched.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rules::Expectation;
    use crate::plan::model::{BaseConfig, ConfigLayer, Patch, Source};

    const DIFF: &str = "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-a\n+b\n";

    /// A kernel and a variant whose files are in `dir`.
    fn plan(dir: &Path) -> (Kernel, Variant) {
        let (fragment, patch) = (dir.join("swap.config"), dir.join("fix.patch"));
        std::fs::write(&fragment, "CONFIG_SWAP=y\n").expect("writes");
        std::fs::write(&patch, DIFF).expect("writes");
        let kernel = Kernel {
            name: "linux".to_owned(),
            series: None,
            source: Source::Debian { package: "linux-source-6.1".to_owned(), suite: None, version: None },
            locked: None,
            notes: None,
            base_config: BaseConfig::Allnoconfig,
            config: vec![ConfigLayer::Fragment(fragment)],
            variants: Vec::new(),
        };
        let variant = Variant {
            name: "patched".to_owned(),
            patches: vec![Patch { path: patch, reverse: false }],
            rev: None,
            image: None,
            expect: Expectation::Any,
            base: None,
        };
        (kernel, variant)
    }

    #[test]
    fn everything_that_a_build_is_made_of_changes_it_and_nothing_else() {
        let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (kernel, variant) = plan(here.path());
        let key = |kernel: &Kernel, variant: &Variant| ci_cache_key(kernel, variant, here.path()).expect("a key");
        let first = key(&kernel, &variant);

        let (other, same) = plan(there.path());
        assert_eq!(ci_cache_key(&other, &same, there.path()).expect("a key"), first, "it depends on the place");
        assert_eq!(key(&Kernel { name: "renamed".to_owned(), ..kernel.clone() }, &variant), first);

        let reverse = Patch { reverse: true, ..variant.patches[0].clone() };
        assert_ne!(key(&kernel, &Variant { patches: vec![reverse], ..variant.clone() }), first);
        assert_ne!(key(&kernel, &Variant { patches: Vec::new(), ..variant.clone() }), first);
        let version = Some("6.1.192-2".to_owned());
        let pinned = Source::Debian { package: "linux-source-6.1".to_owned(), suite: None, version };
        assert_ne!(key(&Kernel { source: pinned, ..kernel.clone() }, &variant), first);
        assert_ne!(key(&Kernel { base_config: BaseConfig::Defconfig, ..kernel.clone() }, &variant), first);
        std::fs::write(here.path().join("swap.config"), "# says the same\nCONFIG_SWAP=y\n").expect("writes");
        assert_eq!(key(&kernel, &variant), first, "a comment is no option");
        std::fs::write(here.path().join("swap.config"), "CONFIG_SWAP=y\nCONFIG_ZRAM=y\n").expect("writes");
        assert_ne!(key(&kernel, &variant), first);
    }

    #[test]
    fn a_ready_kernel_counts_by_its_contents() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut kernel, variant) = plan(dir.path());
        let image = dir.path().join("bzImage");
        std::fs::write(&image, "one").expect("writes");
        kernel.source = Source::Image { kernel: image.clone(), modules: None, config: None };
        let first = ci_cache_key(&kernel, &variant, dir.path()).expect("a key");
        std::fs::write(&image, "two").expect("writes");
        assert_ne!(ci_cache_key(&kernel, &variant, dir.path()).expect("a key"), first);
    }
}
