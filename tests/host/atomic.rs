//! Files and directories that appear whole or not at all.

use std::fs;
use std::path::Path;

use postil::ErrorKind;
use postil::checkpoint::atomic::{clean_temporaries, write_dir, write_file};

fn files(text: &str) -> [(&'static str, Vec<u8>); 2] {
    [("a", text.as_bytes().to_vec()), ("b", b"same".to_vec())]
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn replaces_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("deep").join("file");
    write_file(&path, b"one").expect("written");
    write_file(&path, b"two").expect("replaced");
    assert_eq!(fs::read(&path).expect("the file"), b"two");
    assert_eq!(names(path.parent().expect("a parent")), ["file"]);
}

#[test]
fn replaces_directories() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("adapter");
    write_dir(&path, &files("one")).expect("written");
    write_dir(&path, &files("two")).expect("replaced");
    assert_eq!(fs::read(path.join("a")).expect("the file"), b"two");
    assert_eq!(names(&path), ["a", "b"]);
    assert_eq!(names(dir.path()), ["adapter"]);
    // Fewer files than there were would lose some.
    let error = write_dir(&path, &files("three")[..1]).expect_err("a file would be lost");
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn loses_nothing_of_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("documents");
    fs::create_dir(&path).expect("a directory");
    fs::write(path.join("thesis.txt"), "ten years").expect("a file");
    let error = write_dir(&path, &files("one")).expect_err("would be lost");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(names(&path), ["thesis.txt"]);
    assert_eq!(names(dir.path()), ["documents"]);

    let file = dir.path().join("file");
    fs::write(&file, "precious").expect("a file");
    let error = write_dir(&file, &files("one")).expect_err("a file is there");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(fs::read(&file).expect("the file"), b"precious");
    // And a directory where a file should go.
    assert_eq!(write_file(&path, b"x").expect_err("a directory is there").kind(), ErrorKind::Io);
    assert_eq!(names(dir.path()), ["documents", "file"]);
}

#[test]
fn refuses_names_that_leave_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["../a", "a/b", "/a", "", ".", ".."] {
        let error = write_dir(&dir.path().join("adapter"), &[(name, Vec::new())]).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert_eq!(write_file(Path::new("/"), b"").expect_err("no name").kind(), ErrorKind::Config);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn cleans_up_after_killed_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let make = |name: &str| {
        fs::create_dir(dir.path().join(name)).expect("a directory");
        fs::write(dir.path().join(name).join("a"), name).expect("a file");
    };
    // Killed while writing a file and a new directory.
    fs::write(dir.path().join(".file.12-0.postil-new"), "half").expect("a file");
    make(".fresh.12-1.postil-new");
    // Killed between the two renames: the old one is all there is.
    make(".adapter.v2.12-3.postil-old");
    make(".adapter.v2.12-2.postil-new");
    // Killed after them.
    make("done");
    make(".done.12-4.postil-old");
    // Other people's.
    make("keep.12-0.postil-new");
    make(".keep.postil-new");
    make(".keep.x-0.postil-old");
    clean_temporaries(dir.path()).expect("cleaned");
    assert_eq!(
        names(dir.path()),
        [".keep.postil-new", ".keep.x-0.postil-old", "adapter.v2", "done", "keep.12-0.postil-new"]
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("adapter.v2/a")).expect("the file"),
        ".adapter.v2.12-3.postil-old"
    );
    assert_eq!(fs::read_to_string(dir.path().join("done/a")).expect("the file"), "done");
    clean_temporaries(&dir.path().join("not there")).expect("nothing to do");
}

#[cfg(unix)]
#[test]
fn leaves_running_writers_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = ".file.12-0.postil-new";
    fs::write(dir.path().join(name), "half").expect("a file");
    let writer = fs::File::open(dir.path()).expect("the directory");
    writer.lock_shared().expect("a lock");
    clean_temporaries(dir.path()).expect("nothing done");
    assert_eq!(names(dir.path()), [name]);
    drop(writer);
    clean_temporaries(dir.path()).expect("cleaned");
    assert!(names(dir.path()).is_empty());
}
