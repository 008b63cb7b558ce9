//! Private files and folders, which only their owner may use.
//!
//! All files of the program are made here, with mode 0600 from their first moment: a `chmod` would come after the file
//! was readable. A file with secrets or people's data that other users may use is refused before any of it is read.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Error for a file with secrets or people's data that other users may read or write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} holds secrets or people's data, and other users can read or write it: run chmod 600 {}",
    .0.display(),
    quoted(.0)
)]
pub struct Exposed(pub PathBuf);

/// Makes this process create private files, including those that libraries create, and write no core dumps.
pub fn protect_process() {
    #[cfg(unix)]
    {
        use rustix::{
            fs::Mode,
            process::{Resource, Rlimit, setrlimit, umask},
        };
        umask(Mode::RWXG | Mode::RWXO);
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        // This fails only if the hard limit is already lower.
        let _ = setrlimit(Resource::Core, none);
    }
    #[cfg(target_os = "linux")]
    {
        // The limit above does not apply where the kernel pipes dumps to a program.
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Creates a file, and leaves an existing one alone.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or the reason why the file cannot be created.
pub fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Creates a folder and its missing parents.
///
/// # Errors
/// The reason why a folder cannot be created.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Replaces or creates a file, completely or not at all. Writes directly to a path that is not a regular file, such as
/// `/dev/stdout`.
///
/// # Errors
/// The errors of `fill`, or the reason why the file cannot be written; the existing file is then unchanged.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    // A symbolic link stays. The file that the link leads to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let mut file = OpenOptions::new().write(true).open(path)?;
        return fill(&mut file);
    }
    let part = part_of(path);
    // A process that died while writing may have left its part.
    if let Err(error) = fs::remove_file(&part)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error.into());
    }
    // Creation never follows a link that somebody placed at this path.
    let mut file = create_new(&part)?;
    // The content reaches the disk before the new name: after a crash the path has the old file or the whole new one.
    let written = fill(&mut file)
        .and_then(|()| Ok(file.sync_all()?))
        .and_then(|()| Ok(fs::rename(&part, path)?));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Writes `bytes` like [`replace`].
///
/// # Errors
/// The reason why the file cannot be written; the existing file is then unchanged.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    replace(path, |file| file.write_all(bytes.as_ref()))
}

/// Locks a file until the result is dropped, and creates it first if there is none. Returns `None` if another process,
/// or another part of this one, has it locked.
///
/// # Errors
/// The reason why the file cannot be created or locked.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Checks whether [`replace`] could write a file, without changing it.
///
/// # Errors
/// The reason why it could not.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return OpenOptions::new().write(true).open(path).map(drop);
    }
    let part = part_of(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
    match create_new(&part) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::remove_file(&part),
    }
}

/// Returns the path under which a file is written until it is complete.
fn part_of(path: &Path) -> PathBuf {
    // The part lies in the same folder, since a rename is atomic only within a file system.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Checks that no other user may use a file. A missing file passes.
///
/// # Errors
/// [`Exposed`] with the command that repairs it.
pub fn check(path: &Path) -> Result<(), Exposed> {
    match fs::metadata(path) {
        Ok(file) if file.is_file() && is_exposed(&file) => Err(Exposed(path.to_owned())),
        _ => Ok(()),
    }
}

/// Opens a file for reading, unless other users may use it.
///
/// # Errors
/// [`Exposed`] in the inner result; in the outer one, the reason why the file cannot be opened.
pub fn open(path: &Path) -> io::Result<Result<File, Exposed>> {
    let file = File::open(path)?;
    // The check is on the opened file: the path may lead to another one a moment later.
    Ok(match is_exposed(&file.metadata()?) {
        true => Err(Exposed(path.to_owned())),
        false => Ok(file),
    })
}

#[cfg(unix)]
fn is_exposed(file: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_exposed(_: &fs::Metadata) -> bool {
    false
}

/// Returns the paths of a SQLite database and of the files beside it while it is open.
pub(crate) fn database_files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    // `chmod` would take a path that begins with a hyphen for an option.
    let text = match text.starts_with('-') {
        true => format!("./{text}"),
        false => text,
    };
    let mut characters = text.chars();
    match characters.all(|c| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c))
        && !text.is_empty()
    {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn expose(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    #[test]
    fn what_is_made_is_private_also_where_something_wider_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.csv");
        fs::write(&path, "before").unwrap();
        expose(&path);
        write(&path, "after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(mode(&path), 0o600);
        let nested = folder.path().join("a/b");
        create_folder(&nested).unwrap();
        assert_eq!(mode(&nested), 0o700);
        assert_eq!(mode(nested.parent().unwrap()), 0o700);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        write(&link, "through").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "through");
        write(Path::new("/dev/null"), "away").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_written_whole_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.json");
        write(&path, "before").unwrap();
        let failed: io::Result<()> = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.is_err());
        check_writable(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(check_writable(&folder.path().join("nowhere/at")).is_err());
        // A link that an attacker placed at the path of the part is not followed.
        let victim = folder.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        symlink(&victim, folder.path().join("model.json.part")).unwrap();
        write(&path, "after").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    }

    #[test]
    fn a_lock_has_one_holder_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session.lock");
        let held = lock(&path).unwrap().unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_that_others_may_use_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host.db", "two words.db", "it's.db"] {
            let path = folder.path().join(name);
            fs::write(&path, "people").unwrap();
            expose(&path);
            let refused = check(&path).unwrap_err();
            assert_eq!(open(&path).unwrap().unwrap_err(), refused);
            let refused = refused.to_string();
            let (_, command) = refused.split_once(": run ").unwrap();
            let done = std::process::Command::new("sh")
                .args(["-c", command])
                .status();
            assert!(done.unwrap().success(), "{command}");
            assert_eq!(mode(&path), 0o600);
            check(&path).unwrap();
        }
        check(&folder.path().join("absent")).unwrap();
    }
}
