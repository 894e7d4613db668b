//! The data folder, and the lock that prevents a second log from using it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use crate::transport::TransportError;

/// Creates the folder, checks that it can be written, and takes its lock. The lock is held until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, TransportError> {
    let unusable = |problem: &str, error: std::io::Error| {
        open_error(folder, format!("{problem} ({error}); choose a folder that this user may write, or change its owner or mode"))
    };
    std::fs::create_dir_all(folder).map_err(|error| unusable("the folder cannot be made", error))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(|error| unusable("the folder cannot be written", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(open_error(
            folder,
            "another process or another log in this one has it open; stop that first, or use another folder".to_owned(),
        )),
        Err(TryLockError::Error(error)) => Err(unusable("its file `lock` cannot be locked", error)),
    }
}

pub(super) fn open_error(path: &Path, problem: String) -> TransportError {
    TransportError::Open { path: path.display().to_string(), problem }
}
