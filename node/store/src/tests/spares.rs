use super::*;
use crate::limits::SPARES_MAX;

/// Steps after which one that was kept has come back, with room for a slow thread.
const STEPS_MAX: usize = 100_000;

/// Keeps empty layers until a work directory comes a second time, and hands that out.
fn one_that_came_back(store: &Store) -> Workspace {
    let mut seen: Vec<(u64, fs::File)> = Vec::new();
    let open = |workspace: &Workspace| {
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(workspace.upper(), mode).expect("a mode");
    };
    // From here on the layer is known, so that `upper` itself stays where it is.
    let first = store.workspace().expect("a work directory");
    open(&first);
    first.ingest().expect("an empty layer");
    for _ in 0..STEPS_MAX {
        let workspace = store.workspace().expect("a work directory");
        let work = File::open(workspace.work()).expect("its work directory");
        let number = work.metadata().expect("metadata").ino();
        if seen.iter().any(|(known, _)| *known == number) {
            return workspace;
        }
        // Held open, so that no other directory gets the number.
        if seen.len() < 2 * SPARES_MAX {
            seen.push((number, work));
        }
        // What an overlay and a job leave there.
        fs::create_dir_all(workspace.work().join("work/incompat/volatile")).expect("directories");
        fs::write(workspace.path().join("point"), "x").expect("a file");
        open(&workspace);
        workspace.ingest().expect("an empty layer");
        std::thread::yield_now();
    }
    panic!("no work directory came back");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_work_directory_that_comes_back_has_nothing_of_its_last_step() {
    let (_dir, store) = new_store();
    let again = one_that_came_back(&store);
    assert_eq!(names(&again.path()), ["upper", "work"]);
    assert!(names(&again.upper()).is_empty());
    assert!(names(&again.work()).is_empty());
    let mode = fs::metadata(again.upper()).expect("metadata").mode();
    assert_eq!(mode & 0o7777, 0o755, "the last job's mode of its root");
}

#[test]
fn what_is_ready_is_gone_when_the_store_is_closed() {
    let (dir, store) = new_store();
    drop(one_that_came_back(&store));
    drop(store);
    assert_eq!(names(&dir.path().join("store/work")), ["trash"]);
    assert!(names(&dir.path().join("store/work/trash")).is_empty());
}

#[test]
fn what_is_not_kept_is_never_used_again() {
    let (_dir, store) = new_store();
    let workspace = store.workspace().expect("a work directory");
    let held = File::open(workspace.work()).expect("its work directory");
    drop(workspace);
    for _ in 0..2 * SPARES_MAX {
        let next = store.workspace().expect("a work directory");
        let other = fs::metadata(next.work()).expect("metadata").ino();
        assert_ne!(held.metadata().expect("metadata").ino(), other);
    }
    assert!(names(&store.dir().join("work/trash")).is_empty());
}
