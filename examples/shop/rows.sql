-- Rows for the shop, the same at every run: 300 customers, 60 members, 200 products, 400 orders with 1,200 items.
-- Keys look like those an application makes: a cuid is the letter c and 24 more characters.

INSERT INTO "Customer" ("id", "email", "name", "phone", "preferences", "createdAt")
SELECT 'c' || left(md5('customer ' || i), 24),
       'customer' || i || '@example.org',
       (ARRAY['Zoë', 'Ines', 'Łukasz', 'Amélie', 'Tom', 'Σοφία', 'Nils', 'Aigerim'])[1 + i % 8] || ' '
           || (ARRAY['Müller', 'García', 'Nowak', 'Okafor', 'O''Brien', '山田', 'Silva'])[1 + i % 7],
       CASE WHEN i % 3 > 0 THEN '+43 1 55' || lpad(i::text, 4, '0') END,
       jsonb_build_object('newsletter', i % 2 = 0, 'tags', jsonb_build_array('seed', i % 5)),
       TIMESTAMP '2024-01-01 08:00' + i * INTERVAL '1 hour'
FROM generate_series(1, 300) i;

INSERT INTO "Membership" ("id", "customerId", "level", "validUntil")
SELECT 'c' || left(md5('membership ' || i), 24), 'c' || left(md5('customer ' || i * 5), 24),
       (ARRAY['BASIC', 'SILVER', 'GOLD'])[1 + i % 3]::"MembershipLevel",
       CASE WHEN i % 4 > 0 THEN TIMESTAMP '2030-12-31 23:59:59.999' END
FROM generate_series(1, 60) i;

INSERT INTO "Product" ("id", "sku", "name", "price", "stock", "shelf", "attributes")
SELECT 'c' || left(md5('product ' || i), 24), 'SKU-' || lpad(i::text, 4, '0'),
       CASE i WHEN 1 THEN 'Espresso beans' WHEN 2 THEN 'Green tea' WHEN 3 THEN 'Blue mug' ELSE 'Product ' || i END,
       4.90 + (i * 37 % 500) / 10.0, 20 + i % 30, 'A' || i % 12,
       CASE WHEN i % 2 = 0 THEN jsonb_build_object('weight', i * 10, 'origin', ARRAY['AT', 'PT', 'PE']) END
FROM generate_series(1, 200) i;

INSERT INTO "Order" ("id", "customerId", "membershipId", "status", "createdAt")
SELECT md5('order ' || i)::uuid, 'c' || left(md5('customer ' || 1 + i % 300), 24),
       CASE WHEN (1 + i % 300) % 5 = 0 THEN 'c' || left(md5('membership ' || (1 + i % 300) / 5), 24) END,
       (ARRAY['PAID', 'SENT', 'OPEN', 'CANCELLED'])[1 + i % 4]::"OrderStatus",
       TIMESTAMP '2024-02-01 09:00' + i * INTERVAL '17 minutes'
FROM generate_series(1, 400) i;

-- Nobody has ever ordered the blue mug (product 3).
INSERT INTO "OrderItem" ("orderId", "line", "productId", "quantity", "unitPrice")
SELECT md5('order ' || i)::uuid, line, p."id", 1 + (i + line) % 4, p."price"
FROM generate_series(1, 400) i, generate_series(1, 3) line,
     LATERAL (SELECT "id", "price" FROM "Product"
              WHERE "id" = 'c' || left(md5('product ' || 4 + (i * 7 + line * 11) % 190), 24)) p;

UPDATE "Order" o SET "total" = (SELECT sum("quantity" * "unitPrice") FROM "OrderItem" WHERE "orderId" = o."id");
