# A Postgres server until standard input closes. Arguments: folder of binaries, port, settings.
set -eu
bin=$1 port=$2
shift 2
# In memory, unless FOLDER says otherwise.
directory=$(mktemp -d "${FOLDER:-/dev/shm}/millstream-XXXXXX" 2>/dev/null || mktemp -d)
pid=
finish() {
    if [ -n "$pid" ]; then
        kill -CONT $(family) 2>/dev/null || true
        kill -QUIT "$pid" 2>/dev/null || true
        wait "$pid" || true
    fi
    rm -rf "$directory"
}
trap finish EXIT
cd "$directory"

family() { echo "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); }
start() {
    "$bin/postgres" -D data >>log 2>&1 &
    pid=$!
    # Bounded: 30 seconds.
    tries=300
    until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
        tries=$((tries - 1))
        if [ $tries -eq 0 ] || ! kill -0 "$pid" 2>/dev/null; then
            cat log >&2
            exit 1
        fi
        sleep 0.1
    done
}
certificates() {
    key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch"
    for ca in ca other; do
        openssl req -x509 $key -keyout $ca.key -out $ca.pem -days 2 -subj "/CN=$ca" \
            -addext basicConstraints=critical,CA:TRUE
    done
    openssl req $key -keyout data/server.key -out server.csr -subj /CN=localhost
    echo subjectAltName=DNS:localhost >names
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile names -out data/server.crt
    chmod 600 data/server.key
    chmod 755 . && chmod 644 ca.pem other.pem
}

printf %s "$PASSWORD" >password
"$bin/initdb" -D data -U guarded --pwfile=password --auth=trust -E UTF8 --locale=C -N >log 2>&1
certificates >>log 2>&1
cat >data/pg_hba.conf <<END
host all tester  127.0.0.1/32 trust
host all guarded 127.0.0.1/32 scram-sha-256
END
cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
fsync = off
ssl = on
END
for setting in "$@"; do echo "$setting" >>data/postgresql.conf; done
echo "CREATE ROLE tester SUPERUSER LOGIN" | "$bin/postgres" --single -D data postgres >>log 2>&1
start
echo "$directory"

while read -r command; do
    case $command in
    stop | crash)
        signal=INT
        [ "$command" = stop ] || signal=QUIT
        kill -$signal "$pid"
        wait "$pid" || true
        pid=
        ;;
    start) start ;;
    pause) kill -STOP $(family) ;;
    resume) kill -CONT $(family) ;;
    standby) touch data/standby.signal ;;
    primary) rm data/standby.signal ;;
    esac
    echo done
done
