//! The configuration file, replaced as a whole: who reads it sees the old text or the new one, also after a crash.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

/// Gives the file a new text and keeps its mode and owner. A symbolic link goes on to lead to it.
///
/// # Errors
/// The file is as it was; what could not be done.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    // Renaming needs no right to the file itself: who may not write to it shall not replace it.
    OpenOptions::new().write(true).open(&path)?;
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let temporary = temporary(&path);
    let written = write(&temporary, text, &old).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The name is in the folder, and so it is the folder that must reach the disk. The file is the new one by now either way.
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::warn!(path = %path.display(), %error, "the configuration file may be the old one after a power failure");
    }
    Ok(())
}

fn write(path: &Path, text: &str, old: &fs::Metadata) -> io::Result<()> {
    // One that a crash has left is in the way.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A password may be in it: nobody else reads it before it has its mode.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    file.sync_all()
}

/// Beside the file, since a rename must not leave the file system.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sluice-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn mode_owner_and_link_are_kept() {
        let folder = folder("kept");
        let (file, link) = (folder.join("sluice.toml"), folder.join("link.toml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        // Only root may give files away.
        let gave = std::os::unix::fs::chown(&file, Some(65534), Some(65534)).is_ok();
        symlink(&file, &link).unwrap();
        fs::write(temporary(&file), "of a crash").unwrap();
        replace(&link, "new").unwrap();
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        assert!(!gave || (metadata.uid(), metadata.gid()) == (65534, 65534));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_replaced_stays_as_it_was() {
        let folder = folder("stays");
        let file = folder.join("sluice.toml");
        assert_eq!(
            replace(&file, "new").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        fs::write(&file, "old").unwrap();
        // A folder in the temporary file's place cannot be removed as a file, not even by root.
        fs::create_dir(temporary(&file)).unwrap();
        replace(&file, "new").unwrap_err();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        fs::remove_dir_all(&folder).unwrap();
    }
}
