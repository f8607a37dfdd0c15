//! The symbols of a run's kernels, each read once however many drawings are tried on it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::error::Error;
use crate::build::BuiltKernel;
use crate::symbols::Symbols;

/// What reading a kernel's symbols came to.
pub type Read = Result<Arc<Symbols>, Arc<Error>>;

/// Symbols by vmlinux. Clones share what was read.
#[derive(Debug, Clone, Default)]
pub struct Library(Arc<Mutex<HashMap<PathBuf, Arc<OnceCell<Read>>>>>);

impl Library {
    /// The symbols of a kernel. Reading takes a moment the first time; whoever asks meanwhile waits for it.
    pub async fn symbols(&self, kernel: &BuiltKernel) -> Read {
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
