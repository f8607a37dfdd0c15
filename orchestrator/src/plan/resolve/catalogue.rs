//! Kernels that the plan names and the catalogue describes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Context, guess};
use crate::plan::schema::{Catalogue, CatalogueEntry};
use crate::plan::yaml::{Document, KeyPath};

/// `kernels/sources.yaml`, read when the plan first needs it.
pub(super) struct Shelf {
    path: PathBuf,
    /// Paths in it start here.
    folder: PathBuf,
    entries: Catalogue,
    /// None where there is no such file.
    document: Option<Document>,
}

impl Shelf {
    /// Reads the catalogue. One that cannot be read has no entries, and says so in [`Shelf::finish`].
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

    /// The entry `name`, with the context that its keys are resolved in and their place in the catalogue.
    pub(super) fn entry<'a>(
        &'a self,
        context: Context<'a>,
        name: &str,
    ) -> Option<(&'a CatalogueEntry, Context<'a>, KeyPath)> {
        let document = self.document.as_ref()?;
        let entry = self.entries.get(name)?;
        Some((entry, Context { document, folder: &self.folder, ..context }, KeyPath::keys(&[name])))
    }

    /// Notes in the plan, at `path`, that it names a kernel which is not in the catalogue.
    pub(super) fn unknown(&self, context: Context, path: &KeyPath, name: &str) {
        let (message, hint) = if self.document.is_some() {
            let known = self.entries.keys().map(String::as_str);
            (
                format!("there is no kernel '{name}' in the catalogue, and no source is given for it"),
                guess(name, known, "in kernels/sources.yaml"),
            )
        } else {
            let message = format!("kernel '{name}' has no source, and there is no catalogue {}", self.path.display());
            (message, Some("where its tree comes from: `source: {debian: linux-source-6.1}`".to_owned()))
        };
        context.document.error(path, message, hint);
    }

    /// Notes in the plan, at `path`, what is wrong with the catalogue.
    pub(super) fn finish(self, context: Context, path: &KeyPath) {
        if let Some(document) = self.document.filter(Document::has_errors) {
            let errors = document.into_diagnostics().to_string();
            let message = format!("the catalogue has errors:\n  {}", errors.trim_end().replace('\n', "\n  "));
            context.document.error(path, message, None);
        }
    }
}
