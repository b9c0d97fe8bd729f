//! The data folder: where everything lies that the stack keeps, and the lock that lets one stack have it.

use rand::Rng;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Something in it cannot be read or made.
    #[error("the data folder {path}: {source}", path = .path.display())]
    Io {
        /// What could not be read or made.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another stack has it.
    #[error("the data folder {path} is in use by another flowgate ({process}): stop that one, or choose another folder with --data-dir", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// `process 1234`.
        process: String,
    },
    /// A secret in it is not what this program wrote.
    #[error("{path} should hold the 64 hexadecimal digits of a secret: restore it, or remove it to get a new one (which ends all tokens)", path = .path.display())]
    Secret {
        /// The file.
        path: PathBuf,
    },
}

/// A data folder. Its `.state` is private; the rest is what `local_fs` may read.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

/// Holds a data folder until it is dropped, or its process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl DataFolder {
    /// Makes the folder and its `.state` where they are missing.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn open(root: &Path) -> Result<Self, DataFolderError> {
        let fault = |source| DataFolderError::Io { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(fault)?;
        let folder = Self { root: root.canonicalize().map_err(fault)? };
        for path in [folder.state(), folder.scratch(), folder.lake()] {
            fs::create_dir_all(&path).map_err(|source| DataFolderError::Io { path: path.clone(), source })?;
        }
        make_private(&folder.state()).map_err(|source| DataFolderError::Io { path: folder.state(), source })?;
        Ok(folder)
    }

    /// Takes the folder for this process; the lock goes with the process, however that ends.
    ///
    /// # Errors
    /// `InUse` with the number of the process that has it.
    pub fn lock(&self) -> Result<Lock, DataFolderError> {
        let path = self.state().join("lock");
        let fault = |source| DataFolderError::Io { path: path.clone(), source };
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(fault(source)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is only for the message; the file may be unreadable.
                let _ = file.read_to_string(&mut holder);
                let process = match holder.trim() {
                    "" => "another process".to_owned(),
                    number => format!("process {number}"),
                };
                return Err(DataFolderError::InUse { path: self.root.clone(), process });
            }
        }
        file.set_len(0).map_err(fault)?;
        file.rewind().map_err(fault)?;
        file.write_all(std::process::id().to_string().as_bytes()).map_err(fault)?;
        Ok(Lock { _file: file })
    }

    /// The folder itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What only the stack may read.
    pub fn state(&self) -> PathBuf {
        self.root.join(".state")
    }

    /// The file of the table.
    pub fn table(&self) -> PathBuf {
        self.state().join("dynamodb.sqlite")
    }

    /// The file of the queues.
    pub fn queues(&self) -> PathBuf {
        self.state().join("sqs.sqlite")
    }

    /// Where runs spill.
    pub fn scratch(&self) -> PathBuf {
        self.state().join("scratch")
    }

    /// The file of the key that seals connectors' secrets.
    pub fn secrets_key(&self) -> PathBuf {
        self.state().join("secrets.key")
    }

    /// Where the tables lie.
    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    /// Whether a stack has run in it.
    pub fn has_run(&self) -> bool {
        self.table().exists()
    }

    /// Whether there is already what signs tokens.
    pub fn has_jwt_secret(&self) -> bool {
        self.jwt_secret_file().exists()
    }

    /// What signs tokens: 64 hexadecimal digits, made on first use.
    ///
    /// # Errors
    /// Where the file cannot be read or made, or holds something else.
    pub fn jwt_secret(&self) -> Result<String, DataFolderError> {
        secret(&self.jwt_secret_file())
    }

    fn jwt_secret_file(&self) -> PathBuf {
        self.state().join("jwt.secret")
    }

    /// What seals cursors and idempotency records: 64 hexadecimal digits, made on first use.
    ///
    /// # Errors
    /// Where the file cannot be read or made, or holds something else.
    pub fn cursor_key(&self) -> Result<String, DataFolderError> {
        secret(&self.state().join("cursor.key"))
    }
}

/// The secret in a file, which is made where it is missing.
fn secret(path: &Path) -> Result<String, DataFolderError> {
    let fault = |source| DataFolderError::Io { path: path.to_owned(), source };
    if !path.exists() {
        let mut bytes = [0_u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        make_secret(path, &hex::encode(bytes)).map_err(fault)?;
    }
    // Another process may have made it at the same moment: what counts is what lies there.
    let text = fs::read_to_string(path).map_err(fault)?;
    match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err(DataFolderError::Secret { path: path.to_owned() }),
    }
}

/// Puts a whole secret there at once, unless there is one: a crash never leaves half of it.
fn make_secret(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&draft)?;
    linked
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_stack_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let lock = folder.lock().unwrap();
        let refused = folder.lock().unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        folder.lock().unwrap();
    }

    #[test]
    fn secrets_stay_the_same_and_are_private() {
        let root = tempfile::tempdir().unwrap();
        let first = DataFolder::open(root.path()).unwrap();
        let again = DataFolder::open(root.path()).unwrap();
        assert_eq!(first.jwt_secret().unwrap(), again.jwt_secret().unwrap());
        assert_ne!(first.jwt_secret().unwrap(), first.cursor_key().unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&first.state()), 0o700);
            assert_eq!(mode(&first.state().join("jwt.secret")), 0o600);
        }
    }

    #[test]
    fn a_damaged_secret_is_named_and_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        fs::write(folder.state().join("jwt.secret"), "short").unwrap();
        assert!(folder.jwt_secret().unwrap_err().to_string().contains("jwt.secret"));
    }
}
