"""What the catalog keeps by itself: contents and hashes by which entries are found, and the counts of pages.

Part of the tables of `mirror.index.schema`, and of their version.
"""

from typing import Final

# An entry is known by its content too; the first one that has it stands for all of them.
_KNOW_CONTENT: Final = """
    INSERT INTO contents (digest, repo, size, stored, entry)
    SELECT NEW.digest, repo, NEW.size,
        EXISTS (SELECT 1 FROM blobs WHERE sha256 = NEW.digest)
            OR EXISTS (SELECT 1 FROM links JOIN blobs USING (sha256) WHERE name = NEW.digest),
        NEW.id
    FROM snapshots WHERE id = NEW.snapshot
    ON CONFLICT (digest, repo) DO NOTHING;
"""
_KNOW_XET: Final = """
    INSERT INTO xets (xet, repo, entry)
    SELECT NEW.xet, repo, NEW.id FROM snapshots WHERE id = NEW.snapshot
    ON CONFLICT (xet, repo) DO NOTHING;
"""

_SHOWN: Final = "(({0}.private = 0 AND {0}.gated = 0 AND {0}.bytes_stored > 0) IS TRUE)"

TRIGGERS: Final = f"""
CREATE TRIGGER repo_shown AFTER UPDATE ON repos
WHEN {_SHOWN.format("OLD")} <> {_SHOWN.format("NEW")} BEGIN
    INSERT INTO shown (hub, kind, repos)
    VALUES (
        NEW.hub,
        substr(NEW.name, 1, max(instr(NEW.name, x'2f') - 1, 0)),
        {_SHOWN.format("NEW")} - {_SHOWN.format("OLD")}
    )
    ON CONFLICT (hub, kind) DO UPDATE SET repos = repos + excluded.repos;
END;

CREATE TRIGGER commit_known AFTER INSERT ON snapshots BEGIN
    UPDATE repos SET commits = commits + 1 WHERE id = NEW.repo;
END;

CREATE TRIGGER entry_known AFTER INSERT ON entries WHEN NEW.digest IS NOT NULL BEGIN
    {_KNOW_CONTENT}
END;
CREATE TRIGGER entry_changed AFTER UPDATE ON entries WHEN NEW.digest IS NOT NULL BEGIN
    {_KNOW_CONTENT}
END;
CREATE TRIGGER xet_known AFTER INSERT ON entries WHEN NEW.xet <> '****' BEGIN
    {_KNOW_XET}
END;
CREATE TRIGGER xet_changed AFTER UPDATE ON entries WHEN NEW.xet <> '****' BEGIN
    {_KNOW_XET}
END;

CREATE TRIGGER content_known AFTER INSERT ON contents BEGIN
    UPDATE repos SET files = files + 1, files_stored = files_stored + NEW.stored,
        bytes_stored = bytes_stored + NEW.stored * NEW.size
    WHERE id = NEW.repo;
END;
CREATE TRIGGER content_forgotten AFTER DELETE ON contents BEGIN
    UPDATE repos SET files = files - 1, files_stored = files_stored - OLD.stored,
        bytes_stored = bytes_stored - OLD.stored * OLD.size
    WHERE id = OLD.repo;
END;
CREATE TRIGGER content_moved AFTER UPDATE OF stored ON contents WHEN OLD.stored <> NEW.stored BEGIN
    UPDATE repos SET files_stored = files_stored + NEW.stored - OLD.stored,
        bytes_stored = bytes_stored + (NEW.stored - OLD.stored) * NEW.size
    WHERE id = NEW.repo;
END;

CREATE TRIGGER blob_stored AFTER INSERT ON blobs BEGIN
    UPDATE totals SET blobs = blobs + 1, size = size + NEW.size;
    UPDATE contents SET stored = 1 WHERE digest = NEW.sha256;
    UPDATE contents SET stored = 1
        WHERE digest IN (SELECT name FROM links WHERE sha256 = NEW.sha256);
END;
CREATE TRIGGER blob_resized AFTER UPDATE OF size ON blobs BEGIN
    UPDATE totals SET size = size + NEW.size - OLD.size;
END;
CREATE TRIGGER blob_dropped AFTER DELETE ON blobs BEGIN
    UPDATE totals SET blobs = blobs - 1, size = size - OLD.size;
    UPDATE contents SET stored = 0 WHERE digest = OLD.sha256;
    UPDATE contents SET stored = 0
        WHERE digest IN (SELECT name FROM links WHERE sha256 = OLD.sha256);
END;
CREATE TRIGGER blob_linked AFTER INSERT ON links BEGIN
    UPDATE contents SET stored = 1
        WHERE digest = NEW.name AND EXISTS (SELECT 1 FROM blobs WHERE sha256 = NEW.sha256);
END;
"""
