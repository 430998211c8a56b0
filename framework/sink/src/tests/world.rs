//! One suite, two databases: a world is a fresh database of either kind, and a log.

use super::{server::Server, *};
use std::sync::atomic::{AtomicU32, Ordering};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

/// Runs tests, functions of an [`Engine`], on each of them.
macro_rules! on_each {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(super::Engine::Sqlite); })+
        }
        mod postgres {
            $(#[test] fn $test() {
                if crate::tests::server::is_there() {
                    super::$test(super::Engine::Postgres);
                }
            })+
        }
    };
}
pub(super) use on_each;

/// A database and a log. On SQLite the database is a file in a folder, on Postgres a schema.
pub(super) struct World {
    pub(super) engine: Engine,
    folder: tempfile::TempDir,
    pub(super) log: MemoryLog,
    location: Location,
}

impl World {
    pub(super) fn new(engine: Engine, partitions: usize) -> Self {
        // Hundreds of databases are made and synced: in memory where the system has such a folder.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let location = match engine {
            Engine::Sqlite => Location::sqlite(folder.path().join("deep/down/test.db")),
            Engine::Postgres => schema(Server::shared()),
        };
        Self::at(engine, folder, partitions, location)
    }

    /// A schema on a server of the test's own.
    pub(super) fn on(server: &Server, partitions: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(Engine::Postgres, folder, partitions, schema(server))
    }

    fn at(
        engine: Engine,
        folder: tempfile::TempDir,
        partitions: usize,
        location: Location,
    ) -> Self {
        Self {
            engine,
            folder,
            log: MemoryLog::words(partitions),
            location,
        }
    }

    /// The same database, by a URL with more parameters.
    pub(super) fn more(&mut self, parameters: &str) {
        let url = format!("{}{parameters}", self.location);
        self.location = url.parse().unwrap();
    }

    pub(super) fn location(&self) -> Location {
        assert!(self.folder.path().exists());
        self.location.clone()
    }

    pub(super) fn sink<R: Row + 'static>(
        &self,
        name: &'static str,
        fuse: &Fuse,
        row: fn(&str, &str) -> R,
    ) -> Sink {
        let config = SinkConfig {
            batch_rows: 7,
            batch_bytes: 64,
            ..SinkConfig::default()
        };
        self.sink_with(config, name, fuse, row)
    }

    pub(super) fn sink_with<R: Row + 'static>(
        &self,
        config: SinkConfig,
        name: &'static str,
        fuse: &Fuse,
        row: fn(&str, &str) -> R,
    ) -> Sink {
        let database = Box::new(Crashing(self.location().open(true), fuse.clone()));
        let decode = decoder(WORDS, move |key: &String, value: &String, _: &_| {
            row(key, value)
        });
        let spec = Table::<R>::new(name).spec().unwrap();
        let log = self.log.client(fuse);
        Sink::over(log, "words", spec, database, config, decode).unwrap()
    }

    pub(super) fn word_sink(&self) -> Sink {
        self.sink("words", &Fuse::default(), word)
    }

    /// Another connection to the same database.
    pub(super) fn connection(&self) -> Box<dyn Database> {
        let mut database = self.location().open(true);
        database.connect().unwrap();
        database
    }

    pub(super) fn sql(&self, text: &str) -> Vec<Vec<Value>> {
        self.connection().query(&text.into(), &[]).unwrap()
    }

    /// `SQLite`'s names of types, or what Postgres has in their place.
    pub(super) fn types(&self, text: &str) -> String {
        match self.engine {
            Engine::Sqlite => text.into(),
            Engine::Postgres => text
                .replace("INTEGER", "bigint")
                .replace("TEXT", "text")
                .replace("BLOB", "bytea"),
        }
    }

    /// Another connection that keeps everybody else from starting a sink, or from going on.
    pub(super) fn locked(&self, start: bool) -> Box<dyn Database> {
        let mut other = self.connection();
        let lock = match (self.engine, start) {
            (Engine::Sqlite, _) => "BEGIN EXCLUSIVE",
            (Engine::Postgres, true) => other.dialect().start_lock.unwrap(),
            (Engine::Postgres, false) => "SELECT 1 FROM millstream_offsets FOR UPDATE",
        };
        if self.engine == Engine::Postgres {
            other.begin().unwrap();
        }
        other.query(&lock.into(), &[]).unwrap();
        other
    }
}

/// A new schema, and a location that leads to it and waits for locks for a moment only.
fn schema(server: &Server) -> Location {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("world_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut database = server.location("").open(true);
    database.connect().unwrap();
    let create = format!("CREATE SCHEMA {name}");
    database.execute(&create.into(), &[]).unwrap();
    server.location(&format!(
        "&options[search_path]={name}&options[lock_timeout]=200"
    ))
}
