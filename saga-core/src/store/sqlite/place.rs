//! The location of the database's file.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{super::StoreError, options::Place};
use crate::{id::IdSource, time::Clock};

/// How many times to try to remove the folder of a private database.
const ATTEMPTS: usize = 10;

/// The file of the database. The folder of a private database is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Location {
    file: PathBuf,
    scratch: Option<PathBuf>,
}

impl Location {
    /// Creates the parent folders of the file.
    pub(super) async fn prepare(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => {
                let file = std::path::absolute(path).map_err(|error| failed("the path cannot be used", path, &error))?;
                if let Some(folder) = file.parent() {
                    let made = tokio::fs::create_dir_all(folder).await;
                    made.map_err(|error| failed("the folder cannot be made", folder, &error))?;
                }
                Ok(Self { file, scratch: None })
            }
            Place::Private => {
                let folder = std::env::temp_dir().join(format!("sagas-{}", IdSource::random().uuid(Clock::system().now())));
                // `create_dir_all` would also accept a folder that another user has created.
                let made = private_folder().create(&folder).await;
                made.map_err(|error| failed("the folder cannot be made", &folder, &error))?;
                Ok(Self { file: folder.join("private.db"), scratch: Some(folder) })
            }
        }
    }

    /// The location of an existing file.
    pub(super) async fn existing(place: &Place) -> Result<Self, StoreError> {
        let Place::File(path) = place else {
            return Err(StoreError::Refused("a private database is empty: there is nothing to read; name a file".into()));
        };
        let file = std::path::absolute(path).map_err(|error| failed("the path cannot be used", path, &error))?;
        let found = tokio::fs::metadata(&file).await.map_err(|error| failed("the file cannot be found", &file, &error))?;
        if !found.is_file() {
            return Err(failed("this is no file", &file, &io::ErrorKind::InvalidInput.into()));
        }
        Ok(Self { file, scratch: None })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Location {
    fn drop(&mut self) {
        let Some(folder) = &self.scratch else { return };
        // A connection that closes on its own thread can remove or recreate files in the folder at the same time.
        let removed = (0..ATTEMPTS).map(|_| std::fs::remove_dir_all(folder)).find(|removed| removed.is_ok() || !folder.exists());
        if removed.is_none() {
            tracing::warn!(folder = %folder.display(), "a private database was not removed; remove the folder");
        }
    }
}

fn private_folder() -> tokio::fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix has modes"))]
    let mut builder = tokio::fs::DirBuilder::new();
    #[cfg(unix)]
    builder.mode(0o700);
    builder
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {what} ({error}); check the path and its permissions", path.display()))
}
