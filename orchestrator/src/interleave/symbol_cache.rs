//! The symbols of a run's kernels. Each kernel is read once, however many interleavings use it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::error::Error;
use crate::build::BuiltKernel;
use kernel_debug::symbols::Symbols;

/// A kernel's symbols, or why they could not be loaded.
pub type LoadedSymbols = Result<Arc<Symbols>, Arc<Error>>;

/// Symbols by path of the vmlinux. Clones share their contents.
#[derive(Debug, Clone, Default)]
pub struct SymbolCache(Arc<Mutex<HashMap<PathBuf, Arc<OnceCell<LoadedSymbols>>>>>);

impl SymbolCache {
    /// The symbols of a kernel. The first call loads them; concurrent calls wait for it.
    pub async fn symbols(&self, kernel: &BuiltKernel) -> LoadedSymbols {
        let path = kernel.vmlinux.clone().ok_or_else(|| Arc::new(Error::NoVmlinux))?;
        let cell = {
            let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            read.entry(path.clone()).or_default().clone()
        };
        let read = cell.get_or_init(|| async {
            let read = tokio::task::spawn_blocking(move || Symbols::load(&path)).await;
            match read {
                Ok(read) => read.map(Arc::new).map_err(|error| Arc::new(Error::Symbols(error))),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        });
        read.await.clone()
    }
}
