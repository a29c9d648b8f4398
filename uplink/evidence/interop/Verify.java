// Checks a .tally bundle, from SPEC.md: a third reader, for those who trust
// neither Go nor Python.
//
//   java -cp /usr/share/java/bcprov.jar Verify.java FILE KEY
//
// The class path is needed for suite 3 alone (SM2 and SM3 of Bouncy Castle).
// Prints one JSON object like verify.py and stops at the first thing that does
// not hold, with a line on stderr. Exit status: 0 verified, 1 a leaf is
// missing, 3 unreadable, 4 altered, forked or another key. Needs Java 17.
//
// It reads the leaves as CBOR and checks signatures, key rotations, log id,
// indexes, leaf hashes and roots, dictionaries, block digests and blocks. The
// fine points of form (sections 2, 4 and 14) are left to verify.py.

import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;

public final class Verify {
    @SuppressWarnings("serial")
    static final class Refused extends RuntimeException {
        final String verdict;

        Refused(String verdict, String why) {
            super(why);
            this.verdict = verdict;
        }
    }

    static void need(boolean holds, String verdict, String why) {
        if (!holds) throw new Refused(verdict, why);
    }

    static void form(boolean holds, String why) {
        need(holds, "unreadable", why);
    }

    // --- 2 Encoding ---

    /** Deterministic CBOR: Long or BigInteger, byte[], String, List, TreeMap by Long, Boolean, null. */
    static final class Cbor {
        final byte[] b;
        int at;

        Cbor(byte[] b) {
            this.b = b;
        }

        static Object decode(byte[] b) {
            Cbor c = new Cbor(b);
            Object v = c.item(0);
            form(c.at == b.length, "trailing bytes");
            return v;
        }

        int next() {
            form(at < b.length, "cut short");
            return b[at++] & 255;
        }

        /** The argument of a head of the major type; a long above 2^63-1 shows as negative. */
        long head(int major) {
            int first = next(), info = first & 31;
            form(first >> 5 == major, "major type " + (first >> 5) + ", want " + major);
            if (info < 24) return info;
            form(info < 28, "indefinite length");
            int size = 1 << (info - 24);
            long v = 0;
            for (int i = 0; i < size; i++) v = v << 8 | next();
            long least = info == 24 ? 24 : info == 27 ? 1L << 32 : 1L << (size * 4);
            form(Long.compareUnsigned(v, least) >= 0, "head not the shortest");
            return v;
        }

        int length(int major) {
            long n = head(major);
            form(n >= 0 && n <= b.length - at, "cut short");
            return (int) n;
        }

        byte[] bytes(int major) {
            int n = length(major);
            at += n;
            return Arrays.copyOfRange(b, at - n, at);
        }

        Object item(int depth) {
            form(at < b.length && depth < 16, "cut short or nested too deeply");
            int first = b[at] & 255;
            switch (first >> 5) {
                case 0: {
                    long v = head(0);
                    return v >= 0 ? (Object) v : (Object) new BigInteger(Long.toUnsignedString(v));
                }
                case 1: {
                    long v = head(1);
                    form(v >= 0, "integer below -2^63");
                    return -1 - v;
                }
                case 2:
                    return bytes(2);
                case 3:
                    try {
                        return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes(3))).toString();
                    } catch (CharacterCodingException e) {
                        throw new Refused("unreadable", "text that is not UTF-8");
                    }
                case 4: {
                    List<Object> list = new ArrayList<>();
                    for (int n = length(4); n > 0; n--) list.add(item(depth + 1));
                    return list;
                }
                case 5: {
                    TreeMap<Long, Object> map = new TreeMap<>();
                    long last = -1;
                    for (int n = length(5); n > 0; n--) {
                        long key = head(0); // all maps of the format but record contents
                        form(key > last, "map keys out of order");
                        last = key;
                        map.put(key, item(depth + 1));
                    }
                    return map;
                }
                case 7:
                    at++;
                    form(first >= 0xf4 && first <= 0xf6, "floating-point number or simple value");
                    return first == 0xf6 ? null : (Object) (first == 0xf5);
                default:
                    throw new Refused("unreadable", "tag");
            }
        }

        static void head(ByteArrayOutputStream out, int major, long n) {
            int size = n < 24 ? 0 : n < 1 << 8 ? 1 : n < 1 << 16 ? 2 : n < 1L << 32 ? 4 : 8;
            out.write(major << 5 | (size == 0 ? (int) n : 24 + Integer.numberOfTrailingZeros(size)));
            for (int i = size - 1; i >= 0; i--) out.write((int) (n >> 8 * i));
        }

        static void bytes(ByteArrayOutputStream out, byte[] b) {
            head(out, 2, b.length);
            out.writeBytes(b);
        }
    }

    @SuppressWarnings("unchecked")
    static TreeMap<Long, Object> map(Object v) {
        form(v instanceof TreeMap, "map expected");
        return (TreeMap<Long, Object>) v;
    }

    @SuppressWarnings("unchecked")
    static List<Object> list(Object v, int length) {
        form(v instanceof List && (length < 0 || ((List<Object>) v).size() == length), "array expected");
        return (List<Object>) v;
    }

    static byte[] bytes(Object v, int length) {
        form(v instanceof byte[] && (length < 0 || ((byte[]) v).length == length), "byte string expected");
        return (byte[]) v;
    }

    static long uint(Object v) {
        form(v instanceof Long && (Long) v >= 0 && (Long) v <= 1L << 52, "index or sequence expected");
        return (Long) v;
    }

    // --- 15 Suites ---

    enum Suite {
        ED25519("ed25519:", 32, "SHA-256", "a10127", "a10132"),
        ES256("es256:", 64, "SHA-256", "a10126", "a10128"),
        SM2("sm2:", 64, "SM3", "a1013a00010107");

        static final BigInteger HALF_P256 =
                new BigInteger("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16).shiftRight(1);

        final String prefix, digest;
        final int size;
        final List<String> headers;

        Suite(String prefix, int size, String digest, String... headers) {
            this.prefix = prefix;
            this.size = size;
            this.digest = digest;
            this.headers = List.of(headers);
        }

        /** Bouncy Castle by name, so that the other suites do without it. */
        static java.security.Provider bouncy() throws GeneralSecurityException {
            try {
                return (java.security.Provider)
                        Class.forName("org.bouncycastle.jce.provider.BouncyCastleProvider").getConstructor().newInstance();
            } catch (ReflectiveOperationException e) {
                throw new GeneralSecurityException("suite 3 needs -cp /usr/share/java/bcprov.jar");
            }
        }

        byte[] hash(byte[]... parts) throws GeneralSecurityException {
            MessageDigest d = this == SM2 ? MessageDigest.getInstance(digest, PROVIDER.get()) : MessageDigest.getInstance(digest);
            for (byte[] p : parts) d.update(p);
            return d.digest();
        }

        static final class PROVIDER {
            private static java.security.Provider bouncy;

            static java.security.Provider get() throws GeneralSecurityException {
                return bouncy == null ? bouncy = Suite.bouncy() : bouncy;
            }
        }

        boolean verify(byte[] key, byte[] message, byte[] signature) throws GeneralSecurityException {
            byte[] x = Arrays.copyOf(key, 32), y = Arrays.copyOfRange(key, 32, 64);
            Signature s;
            switch (this) {
                case ED25519:
                    s = Signature.getInstance("Ed25519");
                    s.initVerify(spki("Ed25519", "302a300506032b6570032100", key, null));
                    break;
                case ES256: {
                    if (new BigInteger(1, Arrays.copyOfRange(signature, 32, 64)).compareTo(HALF_P256) > 0) return false;
                    AlgorithmParameters p256 = AlgorithmParameters.getInstance("EC");
                    p256.init(new ECGenParameterSpec("secp256r1"));
                    ECPoint point = new ECPoint(new BigInteger(1, x), new BigInteger(1, y));
                    s = Signature.getInstance("SHA256withECDSAinP1363Format");
                    s.initVerify(KeyFactory.getInstance("EC")
                            .generatePublic(new ECPublicKeySpec(point, p256.getParameterSpec(ECParameterSpec.class))));
                    break;
                }
                default:
                    // User id 1234567812345678 is the default of SM3withSM2.
                    s = Signature.getInstance("SM3withSM2", PROVIDER.get());
                    s.initVerify(spki("EC", "3059301306072a8648ce3d020106082a811ccf5501822d03420004", key, PROVIDER.get()));
                    signature = der(signature);
            }
            s.update(message);
            try {
                return s.verify(signature);
            } catch (java.security.SignatureException e) {
                return false; // numbers out of range
            }
        }

        static PublicKey spki(String algorithm, String head, byte[] key, java.security.Provider provider)
                throws GeneralSecurityException {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            out.writeBytes(HexFormat.of().parseHex(head));
            out.writeBytes(key);
            KeyFactory f = provider == null ? KeyFactory.getInstance(algorithm) : KeyFactory.getInstance(algorithm, provider);
            return f.generatePublic(new X509EncodedKeySpec(out.toByteArray()));
        }

        /** r ‖ s as an ASN.1 SEQUENCE of two INTEGERs. */
        static byte[] der(byte[] rs) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            for (int i = 0; i < 64; i += 32) {
                byte[] n = new BigInteger(1, Arrays.copyOfRange(rs, i, i + 32)).toByteArray();
                out.write(2);
                out.write(n.length);
                out.writeBytes(n);
            }
            byte[] body = out.toByteArray();
            out.reset();
            out.write(0x30);
            out.write(body.length);
            out.writeBytes(body);
            return out.toByteArray();
        }
    }

    // --- 7 History ---

    static final class Tree {
        final Suite suite;
        final List<Long> sizes = new ArrayList<>();
        final List<byte[]> hashes = new ArrayList<>();

        Tree(Suite suite) {
            this.suite = suite;
        }

        void anchor(Object v, long n) {
            List<Object> anchor = list(v, 2), parts = list(anchor.get(1), Long.bitCount(n));
            form(uint(anchor.get(0)) == n, "anchor of another leaf");
            for (int bit = 62, i = 0; bit >= 0; bit--) {
                if ((n >> bit & 1) == 0) continue;
                sizes.add(1L << bit);
                hashes.add(bytes(parts.get(i++), 32));
            }
        }

        void add(byte[] leaf) throws GeneralSecurityException {
            sizes.add(1L);
            hashes.add(leaf);
            for (int i = sizes.size() - 1; i > 0 && sizes.get(i).equals(sizes.get(i - 1)); i--) {
                sizes.set(i - 1, 2 * sizes.remove(i));
                hashes.set(i - 1, node(hashes.get(i - 1), hashes.remove(i)));
            }
        }

        byte[] node(byte[] left, byte[] right) throws GeneralSecurityException {
            return suite.hash(new byte[] {1}, left, right);
        }

        byte[] root() throws GeneralSecurityException {
            if (hashes.isEmpty()) return suite.hash();
            byte[] root = hashes.get(hashes.size() - 1);
            for (int i = hashes.size() - 2; i >= 0; i--) root = node(hashes.get(i), root);
            return root;
        }
    }

    // --- 6 Block ---

    static final class Body {
        final byte[] b;
        int at;

        Body(byte[] b) {
            this.b = b;
        }

        long uvarint() {
            long v = 0;
            for (int shift = 0; ; shift += 7) {
                form(at < b.length && shift < 70, "number cut short or too long");
                int x = b[at++] & 255;
                form(shift < 63 || x <= 1, "number too long");
                v |= (long) (x & 127) << shift;
                if (x < 128) {
                    form(x > 0 || shift == 0, "number not in its shortest form");
                    return v;
                }
            }
        }

        void skip(int limit) {
            int n = small(limit);
            form(n <= b.length - at, "message cut short");
            at += n;
        }

        int small(long limit) {
            long v = uvarint();
            form(v >= 0 && v <= limit, "number out of range");
            return (int) v;
        }
    }

    static boolean present(int code) {
        return code <= 1 || code >= 10;
    }

    // --- the check ---

    final Suite suite;
    final byte[] pinned;
    byte[] log, key, successor; // key in force, and the commitment to the next
    long leaves, windows, values, events, dictionaryAt;
    BigInteger sum = BigInteger.ZERO;
    Tree tree;
    List<Object> dictionary;
    final Map<Long, Long> sequences = new TreeMap<>();

    Verify(String text) {
        Suite found = null;
        for (Suite s : Suite.values()) if (text.startsWith(s.prefix)) found = s;
        form(found != null, "unknown kind of key");
        suite = found;
        pinned = Base64.getUrlDecoder().decode(text.substring(suite.prefix.length()));
        form(pinned.length == suite.size, "length of the key");
    }

    /** 3: the payload of a leaf that key signed. */
    byte[] open(byte[] leaf, byte[] key) throws GeneralSecurityException {
        form(leaf.length > 0 && (leaf[0] & 255) == 0xd2, "not a COSE_Sign1");
        List<Object> parts = list(Cbor.decode(Arrays.copyOfRange(leaf, 1, leaf.length)), 4);
        byte[] header = bytes(parts.get(0), -1), payload = bytes(parts.get(2), -1), signature = bytes(parts.get(3), 64);
        form(map(parts.get(1)).isEmpty(), "unprotected header");
        String hex = HexFormat.of().formatHex(header);
        form(Arrays.stream(Suite.values()).anyMatch(s -> s.headers.contains(hex)), "protected header");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Cbor.head(out, 4, 4);
        Cbor.head(out, 3, 10);
        out.writeBytes("Signature1".getBytes(StandardCharsets.US_ASCII));
        Cbor.bytes(out, header);
        Cbor.bytes(out, new byte[0]);
        Cbor.bytes(out, payload);
        need(suite.headers.contains(hex) && suite.verify(key, out.toByteArray(), signature), "altered", "signature");
        return payload;
    }

    /** 22: the key of a key record. */
    byte[] publicKey(Object record) {
        byte[] key = bytes(map(record).get(2L), -1);
        need(key.length == suite.size, "wrong-key", "key of another suite");
        return key;
    }

    byte[] commitment(TreeMap<Long, Object> leaf) {
        return leaf.containsKey(26L) ? bytes(leaf.get(26L), 32) : null;
    }

    /** 3.1: key r in leaf puts the committed key in force. */
    void rotate(TreeMap<Long, Object> leaf) throws GeneralSecurityException {
        TreeMap<Long, Object> r = map(leaf.get(22L));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Cbor.head(out, 5, r.size());
        for (Map.Entry<Long, Object> e : r.entrySet()) {
            Cbor.head(out, 0, e.getKey());
            if (e.getValue() instanceof byte[] b) {
                Cbor.bytes(out, b);
            } else if (e.getValue() instanceof String s) {
                byte[] utf8 = s.getBytes(StandardCharsets.UTF_8);
                Cbor.head(out, 3, utf8.length);
                out.writeBytes(utf8);
            } else {
                form(e.getValue() instanceof Long, "key record");
                long v = (Long) e.getValue();
                Cbor.head(out, v < 0 ? 1 : 0, v < 0 ? -1 - v : v);
            }
        }
        need(successor != null && Arrays.equals(successor, suite.hash(out.toByteArray())), "forked", "a key that was not committed to");
        key = publicKey(r);
        successor = commitment(leaf);
    }

    /** 6: adds the samples of a block. */
    void block(byte[] block, long channel, long seq) {
        List<Object> parts = list(Cbor.decode(block), 4);
        bytes(parts.get(0), 16);
        form(uint(parts.get(1)) == channel && uint(parts.get(2)) == seq, "block header");
        if (channel == 11) return; // records are for those they name
        Body f = new Body(bytes(parts.get(3), -1));
        List<Object> meters = list(map(dictionary.get(1)).get(channel), -1);
        if (channel == 10) {
            frames(f, meters.size());
            return;
        }
        List<List<int[]>> exceptions = new ArrayList<>();
        for (Object ignored : meters) exceptions.add(new ArrayList<>());
        for (int n = f.small(f.b.length); n > 0; n--) {
            int meter = f.small(meters.size() - 1L);
            exceptions.get(meter).add(new int[] {f.small(256), f.small(3600), f.small(3600), f.small(13)});
        }
        for (int m = 0; m < meters.size(); m++) {
            int slots = f.small(3600), columns = list(list(meters.get(m), 2).get(1), -1).size();
            int[][] codes = new int[columns][slots];
            for (int[] e : exceptions.get(m)) {
                form(e[0] <= columns && e[2] > 0 && e[1] + e[2] <= slots && e[3] > 0, "exception");
                for (int c = e[0] == 0 ? 0 : e[0] - 1; c < (e[0] == 0 ? columns : e[0]); c++) {
                    Arrays.fill(codes[c], e[1], e[1] + e[2], e[3]);
                }
            }
            for (int[] row : codes) {
                long sample = 0;
                for (int code : row) {
                    if (!present(code)) continue;
                    long z = f.uvarint();
                    sample += z >>> 1 ^ -(z & 1);
                    values++;
                    sum = sum.add(BigInteger.valueOf(sample));
                }
            }
        }
        form(f.at == f.b.length, "trailing bytes in a block");
    }

    /** 6.2: raw frames hold no samples, but every byte is accounted for. */
    static void frames(Body f, int meters) {
        for (; meters > 0; meters--) {
            for (int n = f.small(f.b.length); n > 0; n--) {
                f.uvarint();
                f.uvarint();
                f.skip(1 << 16); // request
                f.skip(1 << 16); // reply
            }
            f.uvarint(); // dropped
        }
        form(f.at == f.b.length, "trailing bytes in a block");
    }

    void delivery(byte[] item, long n) throws GeneralSecurityException {
        Cbor outer = new Cbor(item);
        long parts = outer.head(4);
        form(parts == 2 || parts == 3, "delivery");
        byte[] payload = open(outer.bytes(2), key);
        TreeMap<Long, Object> blocks = map(outer.item(0)), leaf = map(Cbor.decode(payload));
        if (parts == 3) outer.item(0); // an anchor: the history is at hand
        form(outer.at == item.length, "trailing bytes");

        long type = uint(leaf.get(1L));
        form(type <= 15, "written by a newer Tallystick");
        byte[] of = type == 0 ? Arrays.copyOf(suite.hash(payload), 16) : bytes(leaf.get(2L), 16);
        need(Arrays.equals(of, log), "wrong-key", "leaf of another log");
        need(uint(leaf.get(3L)) == n, uint(leaf.get(3L)) > n ? "gap" : "unreadable", "leaf " + leaf.get(3L) + ", want " + n);
        // Before the first leaf of a part stands an anchor, which nobody signed.
        need(Arrays.equals(bytes(leaf.get(4L), 32), tree.root()), leaves == 0 && n > 0 ? "gap" : "forked", "history root of leaf " + n);
        if (type == 7) rotate(leaf);
        TreeMap<Long, Object> signed = leaf.containsKey(8L) ? map(leaf.get(8L)) : new TreeMap<>();
        if (type == 1) {
            form(uint(leaf.get(11L)) == dictionaryAt, "dictionary of leaf " + n);
            need(signed.keySet().equals(map(dictionary.get(1)).keySet()), "gap", "channels of leaf " + n);
        }
        for (Map.Entry<Long, Object> e : signed.entrySet()) {
            long seq = uint(list(e.getValue(), 2).get(0));
            Long want = sequences.put(e.getKey(), seq + 1);
            need(want == null || want == seq, "gap", "sequence of channel " + e.getKey());
        }
        for (Map.Entry<Long, Object> e : blocks.entrySet()) {
            need(signed.containsKey(e.getKey()), "altered", "a block that is not signed");
            byte[] block = bytes(e.getValue(), -1);
            List<Object> entry = list(signed.get(e.getKey()), 2);
            need(Arrays.equals(suite.hash(block), bytes(entry.get(1), 32)), "altered", "block of channel " + e.getKey() + " of leaf " + n);
            block(block, e.getKey(), uint(entry.get(0)));
        }
        if (leaf.containsKey(23L)) {
            dictionary = list(leaf.get(23L), 2);
            dictionaryAt = n;
        }
        if (type == 11) for (Object event : list(leaf.get(50L), -1)) events += uint(list(event, 5).get(4));
        tree.add(suite.hash(new byte[] {0}, payload));
        leaves++;
        if (type == 1) windows++;
    }

    /** 10: a whole file. */
    void bundle(byte[] file) throws GeneralSecurityException {
        Cbor items = new Cbor(file);
        TreeMap<Long, Object> head = map(Cbor.decode(items.bytes(2)));
        form("tally".equals(head.get(1L)) && Objects.equals(head.get(2L), 1L), "not a bundle of version 1");
        byte[] first = bytes(head.get(7L), -1);
        log = bytes(head.get(3L), 16);
        key = pinned;
        byte[] payload = open(first, key);
        TreeMap<Long, Object> genesis = map(Cbor.decode(payload));
        form(uint(genesis.get(1L)) == 0, "no genesis");
        need(Arrays.equals(publicKey(genesis.get(22L)), pinned), "wrong-key", "the genesis names another key");
        form(Arrays.equals(Arrays.copyOf(suite.hash(payload), 16), log), "log id");
        successor = commitment(genesis);
        long lo = uint(head.get(4L));

        // Rotations up to lo, and the leaf with the dictionary, each under the key of its time.
        byte[] dict = bytes(head.get(8L), -1);
        boolean opened = false;
        List<byte[]> rotations = new ArrayList<>();
        if (head.containsKey(9L)) for (Object r : list(head.get(9L), -1)) rotations.add(bytes(r, -1));
        long at = indexOf(dict);
        for (byte[] r : rotations) {
            if (!opened && at <= indexOf(r)) opened = dictionary(dict);
            TreeMap<Long, Object> leaf = map(Cbor.decode(open(r, key)));
            form(uint(leaf.get(1L)) == 7 && uint(leaf.get(3L)) < lo, "rotation");
            need(Arrays.equals(bytes(leaf.get(2L), 16), log), "wrong-key", "rotation of another log");
            rotate(leaf);
        }
        if (!opened) dictionary(dict);

        tree = new Tree(suite);
        form(head.containsKey(6L) == lo > 0, "anchor");
        if (lo > 0) tree.anchor(head.get(6L), lo);
        long n = lo;
        while (items.at < file.length) delivery(items.bytes(2), n++);
        need(!head.containsKey(5L) || uint(head.get(5L)) >= n - 1, "unreadable", "more leaves than announced");
        need(!head.containsKey(5L) || uint(head.get(5L)) <= n - 1, "gap", "the file ends before leaf " + head.get(5L));
    }

    /** What an unchecked leaf says its index is: it only picks the key that must have signed it. */
    static long indexOf(byte[] leaf) {
        form(leaf.length > 0, "leaf");
        Object payload = list(Cbor.decode(Arrays.copyOfRange(leaf, 1, leaf.length)), 4).get(2);
        return uint(map(Cbor.decode(bytes(payload, -1))).get(3L));
    }

    boolean dictionary(byte[] leaf) throws GeneralSecurityException {
        byte[] payload = open(leaf, key);
        TreeMap<Long, Object> p = map(Cbor.decode(payload));
        byte[] of = uint(p.get(1L)) == 0 ? Arrays.copyOf(suite.hash(payload), 16) : bytes(p.get(2L), 16);
        need(Arrays.equals(of, log), "wrong-key", "dictionary of another log");
        form(p.containsKey(23L), "no dictionary");
        dictionary = list(p.get(23L), 2);
        dictionaryAt = uint(p.get(3L));
        return true;
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 2) {
            System.err.println("java -cp /usr/share/java/bcprov.jar Verify.java FILE KEY");
            System.exit(2);
        }
        String verdict = "verified";
        Verify v = null;
        try {
            v = new Verify(args[1]);
            v.bundle(Files.readAllBytes(Path.of(args[0])));
        } catch (Refused e) {
            verdict = e.verdict;
            System.err.println(verdict + ": " + e.getMessage());
        } catch (IllegalArgumentException | java.io.IOException | GeneralSecurityException e) {
            verdict = "unreadable";
            System.err.println(verdict + ": " + e.getMessage());
        }
        if (v != null && v.tree != null) {
            System.out.printf("{\"verdict\": \"%s\", \"leaves\": %d, \"windows\": %d, \"values\": %d, \"sum\": %s, \"root\": \"%s\", \"events\": %d}%n",
                    verdict, v.leaves, v.windows, v.values, v.sum, HexFormat.of().formatHex(v.tree.root()), v.events);
        }
        System.exit(switch (verdict) {
            case "verified" -> 0;
            case "gap" -> 1;
            case "unreadable" -> 3;
            default -> 4;
        });
    }
}
