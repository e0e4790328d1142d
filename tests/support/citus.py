"""What we ask of Citus, for a server that has not got it: it only notes what it is asked."""

STAND_IN = b"""
CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char");
CREATE TABLE asked (id bigint GENERATED ALWAYS AS IDENTITY, what text, tab text, by text, place text);
CREATE FUNCTION create_distributed_table(tab regclass, by text, colocate_with text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO asked (what, tab, by, place) VALUES ('distribute', tab::text, by, colocate_with);
    INSERT INTO pg_dist_partition VALUES (tab, 'h') $$;
CREATE FUNCTION truncate_local_data_after_distributing_table(tab regclass) RETURNS void LANGUAGE sql AS $$
    INSERT INTO asked (what, tab) VALUES ('clear', tab::text) $$"""
