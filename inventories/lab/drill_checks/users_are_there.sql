-- The two thousand that the first migration makes.
SELECT count(*) AS users FROM users HAVING count(*) < 2000
