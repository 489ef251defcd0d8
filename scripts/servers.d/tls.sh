# A private certificate authority and what it has signed. Sourced by scripts/servers.
# shellcheck shell=sh

# Sets STORE_PASSWORD; makes the folder tls once. Passwords go through files, which no `ps` shows.
need_tls() {
    STORE_PASSWORD=
    [ "$TLS" = 1 ] || return 0
    if [ ! -e "$FOLDER/tls/password" ]; then
        has openssl || { may_install && install openssl openssl; } ||
            fail "there is no openssl, which makes the certificates for --tls: install it"
        say "making a certificate authority in $FOLDER/tls"
        rm -rf "$FOLDER/tls"
        (umask 077 && make_tls "$FOLDER/tls") >"$FOLDER/tls.log" 2>&1 || {
            tail -n 10 "$FOLDER/tls.log" >&2
            fail "openssl could not make the certificates, see above"
        }
    fi
    STORE_PASSWORD=$(cat "$FOLDER/tls/password")
}

# certify DIR NAME SUBJECT USAGE ALTERNATIVES: a key and a certificate signed by the authority.
certify() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1/$2.key" -out "$1/$2.csr" -subj "/CN=$3" &&
        printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=%s\nsubjectAltName=%s\n' \
            "$4" "$5" >"$1/$2.ext" &&
        openssl x509 -req -in "$1/$2.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 3650 \
            -extfile "$1/$2.ext" -out "$1/$2.pem" &&
        rm "$1/$2.csr" "$1/$2.ext"
}

make_tls() {
    mkdir -p "$1" &&
        openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1/ca.key" -out "$1/ca.pem" -days 3650 \
            -subj "/CN=qdo servers authority" -addext keyUsage=critical,keyCertSign,cRLSign &&
        # Another authority, which has signed nothing: what a client must not trust.
        openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1/stranger.key" -out "$1/stranger.pem" -days 3650 \
            -subj "/CN=a stranger" &&
        certify "$1" server "qdo servers" serverAuth,clientAuth \
            "DNS:localhost,IP:127.0.0.1,IP:127.0.0.2,IP:127.0.0.3" &&
        certify "$1" client "qdo client" clientAuth "DNS:client" &&
        openssl rand -hex 16 >"$1/password.new" &&
        openssl pkcs12 -export -in "$1/server.pem" -inkey "$1/server.key" -certfile "$1/ca.pem" -name server \
            -passout "file:$1/password.new" -out "$1/server.p12" &&
        # A store of trusted certificates carries a mark that only keytool writes.
        "${JAVA%java}keytool" -importcert -noprompt -alias ca -file "$1/ca.pem" -storetype PKCS12 \
            -storepass:file "$1/password.new" -keystore "$1/trust.p12" &&
        mv "$1/password.new" "$1/password"
}
