//! Files and folders that their owner alone may use.
//!
//! Every file that the program makes is made here: with mode 0600 from its first moment, never by a `chmod`
//! after it was readable. What holds secrets or people's data and others may use is refused before anything
//! of it is read.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file with secrets or people's data that others may read or write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} can be read or written by others, and holds secrets or people's data: run chmod 600 {}",
    .0.display(),
    quoted(.0)
)]
pub struct Exposed(pub PathBuf);

/// Has this process make private files whatever library makes them, and leave no memory in a core dump.
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
        // Where it is refused, the limit is already lower than what may be asked for.
        let _ = setrlimit(Resource::Core, none);
    }
    #[cfg(target_os = "linux")]
    {
        // The limit above does not count where dumps are piped to a program.
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Makes a file; one that is there is left alone.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or why it cannot be made.
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

/// Makes a folder, and those above it that are missing.
///
/// # Errors
/// Why it cannot be made.
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

/// Writes a file whole or not at all, in place of one that may be there. What is no file, such as
/// `/dev/stdout`, is written to as it is.
///
/// # Errors
/// Those of `fill`, or why the file cannot be written; then what was there is still there.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    // A link stays one, and what it leads to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let mut file = OpenOptions::new().write(true).open(path)?;
        return fill(&mut file);
    }
    let part = part_of(path);
    // What a process left that died while it wrote.
    if let Err(error) = fs::remove_file(&part)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error.into());
    }
    let mut file = create_new(&part)?;
    let written = fill(&mut file)
        .and_then(|()| Ok(file.sync_all()?))
        .and_then(|()| Ok(fs::rename(&part, path)?));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Writes `bytes` as [`replace`] does.
///
/// # Errors
/// Why it cannot be written; then what was there is still there.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    replace(path, |file| file.write_all(bytes.as_ref()))
}

/// Tells whether [`replace`] could write a file, without touching it.
///
/// # Errors
/// Why it could not.
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

/// The name under which a file is written until it is whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Refuses a file that others may use; one that is missing passes.
///
/// # Errors
/// [`Exposed`] with the command that mends it.
pub fn check(path: &Path) -> Result<(), Exposed> {
    match fs::metadata(path) {
        Ok(file) if file.is_file() && is_exposed(&file) => Err(Exposed(path.to_owned())),
        _ => Ok(()),
    }
}

/// Opens a file for reading, unless others may use it.
///
/// # Errors
/// [`Exposed`] in the inner result; in the outer one, why it cannot be opened.
pub fn open(path: &Path) -> io::Result<Result<File, Exposed>> {
    let file = File::open(path)?;
    // The opened file is looked at, not what the path leads to a moment later.
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

/// A SQLite database and the files that SQLite makes beside it while it is open.
pub(crate) fn database_files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    let text = match text.starts_with('-') {
        true => format!("./{text}"),
        false => text,
    };
    match text.chars().all(plain) && !text.is_empty() {
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
        // A link that somebody put where the part is written is not followed.
        let victim = folder.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        symlink(&victim, folder.path().join("model.json.part")).unwrap();
        write(&path, "after").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
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
            let told = refused.to_string();
            let (_, command) = told.split_once(": run ").unwrap();
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
