-- A store as the first version of sg-ctl (schema 1, git commit afc9bdd) wrote it, dumped: two groups with rules, one
-- interface that was attached. Never changed: it stands for the files that users have.
BEGIN TRANSACTION;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO "meta" VALUES('store_id','15865674958244910181');
INSERT INTO "meta" VALUES('schema_version','1');
INSERT INTO "meta" VALUES('revision','9');
CREATE TABLE objects (
             kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
         ) STRICT, WITHOUT ROWID;
INSERT INTO "objects" VALUES('network-interface','eni-6e3066490eef118f0','{"id":"eni-6e3066490eef118f0","name":"sg0","netns":"sg-fixture","vpc":"vpc-d675f33068fef73af","groups":["sg-cbc6765fb194f1dfc","sg-b2b92bcac814aaef8"],"addresses":["203.0.113.10"],"attachment":{"slot":0,"ifindex":3,"namespace":4026532321,"mac":[138,141,167,192,37,67],"side":"host","mode":"tc","mode_reason":"a virtual device, on which native XDP costs throughput","options":{"no_exempt_link_local":false,"no_exempt_dhcp":false,"require_icmp_rules":false,"non_ip_pass":false,"no_source_dest_check":false,"force_track":true},"timeouts":{"tcp_established":3600,"udp":null,"udp_stream":null},"attached_since":1795468048}}');
INSERT INTO "objects" VALUES('security-group','sg-68bb5d396df41dd77','{"id":"sg-68bb5d396df41dd77","name":"default","description":"default VPC security group","vpc":"vpc-d675f33068fef73af","tags":{}}');
INSERT INTO "objects" VALUES('security-group','sg-b2b92bcac814aaef8','{"id":"sg-b2b92bcac814aaef8","name":"db","description":"Databases","vpc":"vpc-d675f33068fef73af","tags":{}}');
INSERT INTO "objects" VALUES('security-group','sg-cbc6765fb194f1dfc','{"id":"sg-cbc6765fb194f1dfc","name":"web","description":"Web servers","vpc":"vpc-d675f33068fef73af","tags":{"Name":"Web"}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-17ace5ecca5d5ca7a','{"id":"sgr-17ace5ecca5d5ca7a","group":"sg-cbc6765fb194f1dfc","direction":"ingress","traffic":{"tcp":{"from":80,"to":90}},"peer":{"ipv6":"::/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-2318395211786fa2b','{"id":"sgr-2318395211786fa2b","group":"sg-cbc6765fb194f1dfc","direction":"ingress","traffic":{"icmp":{"type":8}},"peer":{"ipv4":"203.0.113.0/24"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-35942cda6461a6985','{"id":"sgr-35942cda6461a6985","group":"sg-68bb5d396df41dd77","direction":"egress","traffic":"all","peer":{"ipv4":"0.0.0.0/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-39bc7459ecb33a7fc','{"id":"sgr-39bc7459ecb33a7fc","group":"sg-b2b92bcac814aaef8","direction":"egress","traffic":"all","peer":{"ipv4":"0.0.0.0/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-3e4ca1a650478ab24','{"id":"sgr-3e4ca1a650478ab24","group":"sg-cbc6765fb194f1dfc","direction":"ingress","traffic":{"tcp":{"from":80,"to":90}},"peer":{"ipv4":"0.0.0.0/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-452d71505d42c134c','{"id":"sgr-452d71505d42c134c","group":"sg-cbc6765fb194f1dfc","direction":"egress","traffic":"all","peer":{"ipv4":"0.0.0.0/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-460efe8261c61d522','{"id":"sgr-460efe8261c61d522","group":"sg-cbc6765fb194f1dfc","direction":"ingress","traffic":{"tcp":{"from":22,"to":22}},"peer":{"ipv4":"203.0.113.1/32"},"description":"admin","tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-6001a234b47841d4c','{"id":"sgr-6001a234b47841d4c","group":"sg-b2b92bcac814aaef8","direction":"ingress","traffic":{"tcp":{"from":5432,"to":5432}},"peer":{"group":"sg-cbc6765fb194f1dfc"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-6a7fa9886d25fffa7','{"id":"sgr-6a7fa9886d25fffa7","group":"sg-cbc6765fb194f1dfc","direction":"egress","traffic":"all","peer":{"ipv6":"::/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-81e7a4348e2975cba','{"id":"sgr-81e7a4348e2975cba","group":"sg-68bb5d396df41dd77","direction":"egress","traffic":"all","peer":{"ipv6":"::/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-cba0dc91cdf1b5aed','{"id":"sgr-cba0dc91cdf1b5aed","group":"sg-b2b92bcac814aaef8","direction":"egress","traffic":"all","peer":{"ipv6":"::/0"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-d25a2bfdbb84dec98','{"id":"sgr-d25a2bfdbb84dec98","group":"sg-68bb5d396df41dd77","direction":"ingress","traffic":"all","peer":{"group":"sg-68bb5d396df41dd77"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('security-group-rule','sgr-ff4aad8f8e9a0e533','{"id":"sgr-ff4aad8f8e9a0e533","group":"sg-b2b92bcac814aaef8","direction":"ingress","traffic":{"other":47},"peer":{"ipv4":"10.0.0.0/8"},"description":null,"tags":{}}');
INSERT INTO "objects" VALUES('vpc','vpc-d675f33068fef73af','{"id":"vpc-d675f33068fef73af","is_default":true,"tags":{}}');
COMMIT;
